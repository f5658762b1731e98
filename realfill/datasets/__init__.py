"""Making scene folders from what is published and from photos of one's own."""
