-- The statements that took most of each database's time, by the hour.

-- What each cluster had counted when its counts were last added to the history.
CREATE TABLE query_snapshots (
    cluster_id uuid PRIMARY KEY REFERENCES clusters ON DELETE CASCADE,
    taken_at timestamptz NOT NULL,
    counted_since timestamptz NOT NULL,
    evictions bigint NOT NULL
);
CREATE TABLE query_counters (
    cluster_id uuid NOT NULL REFERENCES clusters ON DELETE CASCADE,
    database_oid oid NOT NULL,
    role_oid oid NOT NULL,
    query_id bigint NOT NULL,
    calls bigint NOT NULL,
    total_ms double precision NOT NULL,
    rows bigint NOT NULL,
    blocks_hit bigint NOT NULL,
    blocks_read bigint NOT NULL,
    temp_bytes bigint NOT NULL,
    wal_bytes bigint NOT NULL,
    PRIMARY KEY (cluster_id, database_oid, role_oid, query_id)
) WITH (fillfactor = 50);

-- How much of an hour the history has, and how many entries the cluster evicted in it.
CREATE TABLE query_hours (
    cluster_id uuid NOT NULL REFERENCES clusters ON DELETE CASCADE,
    hour timestamptz NOT NULL,
    seconds double precision NOT NULL,
    evictions bigint NOT NULL,
    PRIMARY KEY (cluster_id, hour)
);

-- query_id 0 is all statements of a database and its shadow together. There is no foreign key: it
-- would make dropping a partition wait for everything that uses the table databases.
CREATE TABLE query_history (
    database_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    shadow boolean NOT NULL,
    query_id bigint NOT NULL,
    calls bigint NOT NULL,
    total_ms double precision NOT NULL,
    rows bigint NOT NULL,
    blocks_hit bigint NOT NULL,
    blocks_read bigint NOT NULL,
    temp_bytes bigint NOT NULL,
    wal_bytes bigint NOT NULL,
    PRIMARY KEY (database_id, hour, shadow, query_id)
) PARTITION BY RANGE (hour);

CREATE TABLE query_texts (
    database_id uuid NOT NULL REFERENCES databases ON DELETE CASCADE,
    query_id bigint NOT NULL,
    query text NOT NULL,
    used_at timestamptz NOT NULL,
    PRIMARY KEY (database_id, query_id)
);

-- Creates the partitions of today and tomorrow (UTC) and of the days that are kept, and drops older
-- ones. Only their owner can; the platform's role is not.
CREATE FUNCTION roll_query_history(days integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET timezone = 'UTC'
AS $$
DECLARE
    first date := current_date - days;
    part name;
BEGIN
    FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.query_history'::regclass
          AND c.relname < 'query_history_' || to_char(first, 'YYYYMMDD')
    LOOP
        EXECUTE format('DROP TABLE public.%I', part);
    END LOOP;
    FOR day IN 0 .. days + 1 LOOP
        part := 'query_history_' || to_char(first + day, 'YYYYMMDD');
        IF to_regclass('public.' || part) IS NULL THEN
            EXECUTE format('CREATE TABLE public.%I PARTITION OF public.query_history'
                ' FOR VALUES FROM (%L) TO (%L)', part, first + day, first + day + 1);
            -- Through their parent its policies apply; nobody else reads them.
            EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', part);
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION roll_query_history(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION roll_query_history(integer) TO tenantry_platform;

GRANT SELECT, INSERT, UPDATE, DELETE
    ON query_snapshots, query_counters, query_hours, query_history, query_texts
    TO tenantry_platform;
ALTER TABLE query_snapshots ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON query_snapshots TO tenantry_platform USING (true);
ALTER TABLE query_counters ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON query_counters TO tenantry_platform USING (true);
ALTER TABLE query_hours ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON query_hours TO tenantry_platform USING (true);
ALTER TABLE query_history ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON query_history TO tenantry_platform USING (true);
CREATE POLICY own ON query_history TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
ALTER TABLE query_texts ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON query_texts TO tenantry_platform USING (true);
CREATE POLICY own ON query_texts TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
GRANT SELECT ON query_history, query_texts TO tenantry_customer;
