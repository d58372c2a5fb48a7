"""What every room stands on: errors, settings, files, devices, threads, progress."""
