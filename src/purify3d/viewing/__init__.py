"""A finished run on a page: `viewed.py` is what there is, `state.py` what is shown, `page.py` shows it."""
