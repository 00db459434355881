"""Records in PostgreSQL: a typed table for each model and schema, by day, and a view for each model.

`connection` has the parameters of connections and their errors, `schema` makes the tables that are always
there, `catalog` those for rows, and `views` the views. `layout` says which columns rows have, `copying` makes
binary COPY of them, and `accounts` keeps the books. `store` puts these together for the shipper; `retention`
drops what is too old.
"""
