"""What several capture formats read alike: images, depths, videos, archives, poses."""
