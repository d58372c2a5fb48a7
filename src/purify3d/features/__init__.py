"""From frames to one feature per point: fuse frames, project, sample, fuse views, store."""
