--
-- PostgreSQL database dump
--

-- Dumped from database version 17.5
-- Dumped by pg_dump version 17.5

SET client_encoding = 'UTF8';
SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE public.notes (
    id integer NOT NULL,
    owner uuid,
    body text
);
ALTER TABLE public.notes OWNER TO neondb_owner;
COPY public.notes (id, owner, body) FROM stdin;
1	6ecd8c99-4036-403d-bf84-cf8400f67836	first
\.
ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY read_all ON public.notes FOR SELECT TO authenticated USING (true);
GRANT SELECT ON TABLE public.notes TO anon;
ALTER DEFAULT PRIVILEGES FOR ROLE cloud_admin IN SCHEMA public GRANT ALL ON SEQUENCES TO neon_superuser WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES FOR ROLE cloud_admin IN SCHEMA public GRANT ALL ON TABLES TO neon_superuser WITH GRANT OPTION;
--
-- PostgreSQL database dump complete
--
