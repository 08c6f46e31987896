"""A day of sales with known truth: stores, warehouses, shoppers and source systems around the pure product.

The simulation knows its own world only: what lies on a shelf, who ordered what, which message goes astray. What the
product makes of the facts is the product's own code (`atp/domain`), run in this process without a broker.
"""
