"""What people decided about tags: kept, counted, and handed on as labels."""
