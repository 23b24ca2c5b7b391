CREATE TABLE items (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    price_cents integer NOT NULL CHECK (price_cents >= 0)
);

CREATE TABLE orders (
    id uuid PRIMARY KEY,
    item_id integer NOT NULL REFERENCES items (id),
    quantity integer NOT NULL CHECK (quantity > 0),
    written_at timestamptz NOT NULL DEFAULT now()
);
