"""The data product's own papers, made from the code: schemas, AsyncAPI, data contract, topology."""
