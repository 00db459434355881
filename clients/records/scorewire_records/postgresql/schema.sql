-- The tables of records of format 1. `scorewire records init` runs this, as often as you like.
--
-- Names that begin with "_" are tables of rows, and are made by the shipper: no model's name begins so.

CREATE SCHEMA IF NOT EXISTS scorewire;
COMMENT ON SCHEMA scorewire IS 'Records of the predictions of Scorewire: a view for each model, gaps and ledger';

CREATE TABLE IF NOT EXISTS scorewire.format (number integer NOT NULL);
COMMENT ON TABLE scorewire.format IS 'The format of this schema: one row';
INSERT INTO scorewire.format SELECT 1 WHERE NOT EXISTS (SELECT FROM scorewire.format);

CREATE TABLE IF NOT EXISTS scorewire.models (
    model text PRIMARY KEY,
    view_name text NOT NULL UNIQUE,
    retention_days integer
);
COMMENT ON TABLE scorewire.models IS 'Each model, its view, and how long the last policy keeps its records';

CREATE TABLE IF NOT EXISTS scorewire.tables (
    name text PRIMARY KEY,
    number integer GENERATED ALWAYS AS IDENTITY,
    model text NOT NULL REFERENCES scorewire.models,
    fingerprint text NOT NULL,
    features text[] NOT NULL,
    numbers text[] NOT NULL,
    texts text[] NOT NULL,
    hashed text[] NOT NULL,
    dropped text[] NOT NULL,
    outputs jsonb NOT NULL,
    score_output integer
);
COMMENT ON TABLE scorewire.tables IS 'Each table of rows: for a model, a schema, and what the policy hashes and drops';

CREATE TABLE IF NOT EXISTS scorewire.partitions (
    name text PRIMARY KEY,
    table_name text NOT NULL REFERENCES scorewire.tables,
    day date NOT NULL,
    UNIQUE (table_name, day)
);
COMMENT ON TABLE scorewire.partitions IS 'Each partition: the rows of one table and one day (UTC)';

CREATE TABLE IF NOT EXISTS scorewire.sources (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version text NOT NULL,
    route text NOT NULL,
    route_kind text NOT NULL,
    UNIQUE (version, route, route_kind)
);
COMMENT ON TABLE scorewire.sources IS 'Each version on a route; rows refer to it';

CREATE TABLE IF NOT EXISTS scorewire.starts (
    start uuid PRIMARY KEY,
    server text NOT NULL DEFAULT '',
    engine text NOT NULL DEFAULT '',
    shipper uuid NOT NULL,
    epoch bigint NOT NULL,
    next_block bigint NOT NULL DEFAULT 0,
    refused_rows bigint NOT NULL DEFAULT 0,
    ended boolean NOT NULL DEFAULT false,
    changed timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE scorewire.starts IS 'Each start of a server';
COMMENT ON COLUMN scorewire.starts.shipper IS 'The shipper that took the start over last; another one that comes back is refused';
COMMENT ON COLUMN scorewire.starts.epoch IS 'How many shippers have taken the start over';
COMMENT ON COLUMN scorewire.starts.next_block IS 'The number of the first block that is not stored';
COMMENT ON COLUMN scorewire.starts.refused_rows IS 'Rows of blocks that this database would not take: set aside in the folder of records';
COMMENT ON COLUMN scorewire.starts.ended IS 'Whether the server stopped in order, and all of its blocks were seen';

CREATE TABLE IF NOT EXISTS scorewire.writers (
    writer uuid PRIMARY KEY,
    start uuid NOT NULL REFERENCES scorewire.starts,
    next_sequence bigint NOT NULL DEFAULT 0,
    settled_sequence bigint NOT NULL DEFAULT 0,
    sampled_out_predictions bigint NOT NULL DEFAULT 0, sampled_out_rows bigint NOT NULL DEFAULT 0,
    spooled_predictions bigint NOT NULL DEFAULT 0, spooled_rows bigint NOT NULL DEFAULT 0,
    ring_full_predictions bigint NOT NULL DEFAULT 0, ring_full_rows bigint NOT NULL DEFAULT 0,
    too_large_predictions bigint NOT NULL DEFAULT 0, too_large_rows bigint NOT NULL DEFAULT 0,
    spool_full_predictions bigint NOT NULL DEFAULT 0, spool_full_rows bigint NOT NULL DEFAULT 0,
    disk_predictions bigint NOT NULL DEFAULT 0, disk_rows bigint NOT NULL DEFAULT 0,
    stored_predictions bigint NOT NULL DEFAULT 0, stored_rows bigint NOT NULL DEFAULT 0,
    set_aside_predictions bigint NOT NULL DEFAULT 0, set_aside_rows bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE scorewire.writers IS 'The last ledger of each writer (a thread of a server that records) that was stored';
COMMENT ON COLUMN scorewire.writers.settled_sequence IS 'What became of all lower numbers is in this ledger; others may have been on their way to the spool';
COMMENT ON COLUMN scorewire.writers.stored_rows IS 'All that was ever stored, also what has expired';
COMMENT ON COLUMN scorewire.writers.set_aside_rows IS 'Spooled, but not readable, refused, or no longer there when it was to be stored';

CREATE TABLE IF NOT EXISTS scorewire.stored (
    table_name text NOT NULL REFERENCES scorewire.tables,
    day date NOT NULL,
    writer uuid NOT NULL REFERENCES scorewire.writers,
    first_sequence bigint NOT NULL,
    last_sequence bigint NOT NULL,
    predictions bigint NOT NULL,
    rows bigint NOT NULL,
    expired_predictions bigint NOT NULL DEFAULT 0,
    expired_rows bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (table_name, day, writer)
) WITH (fillfactor = 50);
COMMENT ON TABLE scorewire.stored IS 'What each partition has of each writer, and what expired with it';

CREATE TABLE IF NOT EXISTS scorewire.losses (
    writer uuid NOT NULL REFERENCES scorewire.writers,
    first_sequence bigint NOT NULL,
    next_sequence bigint NOT NULL,
    cause text NOT NULL,
    predictions bigint NOT NULL,
    rows bigint NOT NULL,
    seen timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS losses_writer ON scorewire.losses (writer, next_sequence);
COMMENT ON TABLE scorewire.losses IS 'Predictions that have no rows: so many of a writer, somewhere between two sequence numbers, and why';

CREATE OR REPLACE VIEW scorewire.ledger AS
SELECT
    w.start, w.writer, w.next_sequence AS taken,
    w.sampled_out_predictions AS sampled_out, w.spooled_predictions AS spooled,
    w.ring_full_predictions AS ring_full, w.too_large_predictions AS too_large,
    w.spool_full_predictions AS spool_full, w.disk_predictions AS disk,
    w.next_sequence - w.spooled_predictions - w.ring_full_predictions - w.too_large_predictions
        - w.spool_full_predictions - w.disk_predictions AS in_flight,
    w.stored_predictions - coalesce(e.predictions, 0) AS stored,
    coalesce(e.predictions, 0)::bigint AS expired,
    w.set_aside_predictions AS set_aside,
    w.spooled_rows, w.stored_rows - coalesce(e.rows, 0) AS stored_rows,
    coalesce(e.rows, 0)::bigint AS expired_rows, w.set_aside_rows,
    w.settled_sequence, s.ended
FROM scorewire.writers w
JOIN scorewire.starts s USING (start)
LEFT JOIN (
    SELECT writer, sum(expired_predictions)::bigint AS predictions, sum(expired_rows)::bigint AS rows
    FROM scorewire.stored GROUP BY writer
) e USING (writer);
COMMENT ON VIEW scorewire.ledger IS
    'Of each writer, in predictions: taken = spooled + ring_full + too_large + spool_full + disk + in_flight, '
    'and spooled = stored + expired + set_aside, once the last ledger is stored';

CREATE OR REPLACE FUNCTION scorewire.numbers(only_writer uuid DEFAULT NULL)
RETURNS TABLE (writer uuid, sequence bigint) LANGUAGE plpgsql STABLE AS $$
DECLARE
    table_name text;
BEGIN
    FOR table_name IN SELECT t.name FROM scorewire.tables t ORDER BY t.number LOOP
        RETURN QUERY EXECUTE format(
            'SELECT DISTINCT r.writer, r.sequence FROM scorewire.%I r WHERE $1 IS NULL OR r.writer = $1', table_name
        ) USING only_writer;
    END LOOP;
END
$$;
COMMENT ON FUNCTION scorewire.numbers IS 'The sequence numbers that have rows, read from the rows themselves';

CREATE OR REPLACE FUNCTION scorewire.gaps_of(only_writer uuid DEFAULT NULL)
RETURNS TABLE (writer uuid, first_sequence bigint, last_sequence bigint, predictions bigint, causes text[])
LANGUAGE sql STABLE AS $$
    WITH present AS MATERIALIZED (SELECT n.writer, n.sequence FROM scorewire.numbers(only_writer) n),
    edges AS (
        SELECT p.writer, p.sequence FROM present p
        UNION ALL
        SELECT w.writer, -1 FROM scorewire.writers w WHERE only_writer IS NULL OR w.writer = only_writer
        UNION ALL
        -- Rows may be stored before the ledger that counts them.
        SELECT w.writer, w.next_sequence
        FROM scorewire.writers w
        LEFT JOIN (SELECT p.writer, max(p.sequence) AS last FROM present p GROUP BY 1) l USING (writer)
        WHERE (only_writer IS NULL OR w.writer = only_writer) AND (l.last IS NULL OR l.last < w.next_sequence)
    ),
    missing AS (
        SELECT e.writer, e.sequence + 1 AS first,
            lead(e.sequence) OVER (PARTITION BY e.writer ORDER BY e.sequence) - 1 AS last
        FROM edges e
    )
    SELECT m.writer, m.first, m.last, m.last - m.first + 1, array(
        SELECT l.cause FROM scorewire.losses l
        WHERE l.writer = m.writer AND l.next_sequence > m.first AND l.first_sequence <= m.last
        UNION
        SELECT 'expired' FROM scorewire.stored s
        WHERE s.writer = m.writer AND s.expired_predictions > 0
            AND s.last_sequence >= m.first AND s.first_sequence <= m.last
        UNION
        SELECT 'in_flight' FROM scorewire.ledger g
        WHERE g.writer = m.writer AND g.in_flight > 0 AND m.last >= g.settled_sequence
        ORDER BY 1
    )
    FROM missing m
    WHERE m.last >= m.first
    ORDER BY 1, 2
$$;
COMMENT ON FUNCTION scorewire.gaps_of IS 'The missing sequence numbers of one writer, or of all, and why';

CREATE OR REPLACE VIEW scorewire.gaps AS SELECT * FROM scorewire.gaps_of();
COMMENT ON VIEW scorewire.gaps IS
    'Every missing sequence number: the numbers from first_sequence to last_sequence have no rows, and the causes that '
    'the ledger has there. Reads all rows; scorewire.gaps_of(writer) reads those of one writer';

CREATE OR REPLACE FUNCTION scorewire.scores(since timestamptz, until timestamptz)
RETURNS TABLE (
    "time" timestamptz, model text, version text, route text, route_kind text, share double precision,
    has_error boolean, score double precision
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    kind record;
    score_column text;
BEGIN
    FOR kind IN SELECT t.name, t.model, t.outputs -> t.score_output AS output FROM scorewire.tables t ORDER BY t.number
    LOOP
        -- The last column of the output, as everywhere. The comment has the name of a column whose own was cut.
        SELECT format('r.%I', a.attname) || CASE kind.output ->> 1 WHEN '1' THEN '' ELSE format('[%s]', kind.output ->> 1) END
        INTO score_column
        FROM pg_attribute a
        WHERE a.attrelid = format('scorewire.%I', kind.name)::regclass AND a.attnum > 0
            AND coalesce(col_description(a.attrelid, a.attnum), a.attname) = 'output_' || (kind.output ->> 0)
            AND a.atttypid IN ('double precision'::regtype, 'double precision[]'::regtype);
        RETURN QUERY EXECUTE format(
            'SELECT r.time, %L::text, s.version, s.route, s.route_kind, r.share, r.error_reason <> 0,'
            ' CASE WHEN r.error_reason = 0 THEN %s END'
            ' FROM scorewire.%I r JOIN scorewire.sources s ON s.id = r.source WHERE r.time >= $1 AND r.time < $2',
            kind.model, coalesce(score_column, 'NULL::double precision'), kind.name
        ) USING since, until;
    END LOOP;
END
$$;
COMMENT ON FUNCTION scorewire.scores IS
    'The rows of all models in a time, each with its score: the last column of the output that has the score; null for '
    'an error, and for models without a score';
