-- A home is cut back to its bound now and then, not counted at every delivery.
ALTER TABLE account DROP COLUMN home_ids;
