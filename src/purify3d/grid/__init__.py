"""The world as a grid: cells, voxels, neighbours, projection into cameras, sparse convolution."""
