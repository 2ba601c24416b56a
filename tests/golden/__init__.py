"""What six jobs gave before the rooms of the package were moved: hashes, shard ids and the bytes of the parts."""
