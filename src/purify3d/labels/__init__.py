"""From features to labels, heat, regions, objects and scores."""
