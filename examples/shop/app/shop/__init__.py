"""A small shop: items in PostgreSQL, a visit counter and an order queue in Redis."""
