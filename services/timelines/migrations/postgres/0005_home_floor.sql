-- A home that was cut is complete above this id only; what is older is read from the authors' lists
-- when the home has become short. -1 for a home that was never cut.
ALTER TABLE account ADD COLUMN home_floor BIGINT NOT NULL DEFAULT -1;
