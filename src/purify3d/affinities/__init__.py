"""How much each voxel takes from its neighbours, and pooling along these weights."""
