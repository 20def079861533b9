-- The settings of application users, which the data API's process serves; null where there are none.
ALTER TABLE data_apis ADD COLUMN auth jsonb CHECK (jsonb_typeof(auth) = 'object');
