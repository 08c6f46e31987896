"""Available-to-Promise per SKU and region: fact → state → ATP → topic → reconciliation → mode → ledger."""

from atp import compiled

compiled.use()
