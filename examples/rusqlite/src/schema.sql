-- What all stores share. An article number (EAN) is the same in every store, so it is a key that any node may insert.
CREATE TABLE product(
    ean INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    cents INTEGER NOT NULL CHECK (cents > 0),
    priced_by INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Every node keeps this index by itself: HarmonyLite runs the three triggers for rows that come from other nodes, too.
CREATE VIRTUAL TABLE product_search USING fts5(
    name, description, content = 'product', content_rowid = 'ean', tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
);
CREATE TRIGGER product_added AFTER INSERT ON product BEGIN
    INSERT INTO product_search(rowid, name, description) VALUES (NEW.ean, NEW.name, NEW.description);
END;
CREATE TRIGGER product_removed AFTER DELETE ON product BEGIN
    INSERT INTO product_search(product_search, rowid, name, description)
    VALUES ('delete', OLD.ean, OLD.name, OLD.description);
END;
CREATE TRIGGER product_changed AFTER UPDATE ON product BEGIN
    INSERT INTO product_search(product_search, rowid, name, description)
    VALUES ('delete', OLD.ean, OLD.name, OLD.description);
    INSERT INTO product_search(rowid, name, description) VALUES (NEW.ean, NEW.name, NEW.description);
END;

-- Customers are enrolled anywhere, by a random key. Two stores may enrol the same address before they have heard of each
-- other: the later card stays. Nothing refers to a card, so nothing is left behind.
CREATE TABLE loyalty_card(
    id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))),
    email TEXT NOT NULL UNIQUE COLLATE NOCASE,
    points INTEGER NOT NULL,
    store INTEGER NOT NULL
) STRICT;

-- From here on every row belongs to a till, and only its till writes it. Receipts are numbered without a gap: a number
-- that is unique within its till needs nobody else to agree to it.
CREATE TABLE till(
    till TEXT PRIMARY KEY,
    store INTEGER NOT NULL,
    last_number INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE receipt(
    till TEXT NOT NULL REFERENCES till,
    number INTEGER NOT NULL,
    sold TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    cents INTEGER NOT NULL,
    payment TEXT NOT NULL CHECK (payment IN ('cash', 'card')),
    PRIMARY KEY (till, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE receipt_line(
    till TEXT NOT NULL,
    number INTEGER NOT NULL,
    line INTEGER NOT NULL,
    ean INTEGER NOT NULL REFERENCES product,
    pieces INTEGER NOT NULL CHECK (pieces <> 0),
    cents INTEGER NOT NULL,
    total INTEGER NOT NULL GENERATED ALWAYS AS (pieces * cents) STORED,
    PRIMARY KEY (till, number, line),
    FOREIGN KEY (till, number) REFERENCES receipt
) STRICT, WITHOUT ROWID;
CREATE INDEX receipt_line_by_product ON receipt_line(ean);

-- Stock is what has come minus what has gone. A counter that two stores change at the same time would lose one of them.
CREATE TABLE movement(
    id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))),
    store INTEGER NOT NULL,
    ean INTEGER NOT NULL REFERENCES product,
    pieces INTEGER NOT NULL
) STRICT;

-- It runs where the line is sold, and what it writes is replicated like any other row: not twice.
CREATE TRIGGER line_sold AFTER INSERT ON receipt_line BEGIN
    INSERT INTO movement(store, ean, pieces)
    SELECT store, NEW.ean, -NEW.pieces FROM till WHERE till = NEW.till;
END;

CREATE TABLE takings(
    till TEXT NOT NULL REFERENCES till,
    payment TEXT NOT NULL,
    receipts INTEGER NOT NULL,
    cents INTEGER NOT NULL,
    PRIMARY KEY (till, payment)
) STRICT, WITHOUT ROWID;

-- A sale that waits while the customer fetches something: there for a moment, then gone with its lines.
CREATE TABLE parked(
    id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))),
    till TEXT NOT NULL REFERENCES till
) STRICT;
CREATE TABLE parked_line(
    parked TEXT NOT NULL REFERENCES parked ON DELETE CASCADE,
    ean INTEGER NOT NULL REFERENCES product,
    pieces INTEGER NOT NULL,
    PRIMARY KEY (parked, ean)
) STRICT;
