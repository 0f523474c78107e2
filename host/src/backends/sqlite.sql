CREATE TABLE cells (
    plugin  TEXT NOT NULL,
    -- 0: a bucket, 1: a window
    kind    INTEGER NOT NULL,
    key     TEXT NOT NULL,
    -- Nanoseconds since 1970: when a bucket's next take is due, when a window began.
    at      INTEGER NOT NULL,
    -- Of a window.
    taken   INTEGER NOT NULL,
    -- Nanoseconds since 1970 at which the cell says nothing any more.
    expires INTEGER NOT NULL,
    PRIMARY KEY (plugin, kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX cells_expires ON cells (plugin, expires);

CREATE TABLE entries (
    plugin  TEXT NOT NULL,
    key     TEXT NOT NULL,
    value   BLOB NOT NULL,
    -- Bytes that it counts against the plugin's bound.
    cost    INTEGER NOT NULL,
    -- Nanoseconds since 1970 at which it goes.
    expires INTEGER,
    PRIMARY KEY (plugin, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX entries_expires ON entries (plugin, expires) WHERE expires IS NOT NULL;

-- What a plugin's rows add up to, so that its bounds cost no scan.
CREATE TABLE sums (
    plugin TEXT NOT NULL PRIMARY KEY,
    cells  INTEGER NOT NULL DEFAULT 0,
    bytes  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TRIGGER cell_added AFTER INSERT ON cells BEGIN
    INSERT INTO sums (plugin, cells) VALUES (NEW.plugin, 1)
        ON CONFLICT (plugin) DO UPDATE SET cells = cells + 1;
END;
CREATE TRIGGER cell_removed AFTER DELETE ON cells BEGIN
    UPDATE sums SET cells = cells - 1 WHERE plugin = OLD.plugin;
END;
CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
    INSERT INTO sums (plugin, bytes) VALUES (NEW.plugin, NEW.cost)
        ON CONFLICT (plugin) DO UPDATE SET bytes = bytes + NEW.cost;
END;
CREATE TRIGGER entry_changed AFTER UPDATE ON entries BEGIN
    UPDATE sums SET bytes = bytes - OLD.cost + NEW.cost WHERE plugin = NEW.plugin;
END;
CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
    UPDATE sums SET bytes = bytes - OLD.cost WHERE plugin = OLD.plugin;
END;

PRAGMA application_id = 1347638350;
PRAGMA user_version = 1;
