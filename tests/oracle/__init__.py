"""A second, deliberately naive reading of the domain, to hold the product's numbers against."""
