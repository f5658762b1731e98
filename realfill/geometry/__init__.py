"""What the references prove of the hole: cameras, depth, colours, and how far to trust them."""
