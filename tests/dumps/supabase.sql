--
-- PostgreSQL database dump
--

\restrict k0aVn7QbR2

-- Dumped from database version 15.8
-- Dumped by pg_dump version 17.5

SET statement_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET row_security = off;

CREATE SCHEMA auth;
ALTER SCHEMA auth OWNER TO supabase_admin;
CREATE SCHEMA vault;
ALTER SCHEMA vault OWNER TO supabase_admin;
CREATE EXTENSION IF NOT EXISTS pg_net WITH SCHEMA extensions;
COMMENT ON EXTENSION pg_net IS 'Async HTTP';
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA extensions;
COMMENT ON EXTENSION pg_trgm IS 'text similarity measurement';
CREATE EXTENSION IF NOT EXISTS supabase_vault WITH SCHEMA vault;
CREATE TYPE auth.aal_level AS ENUM ('aal1', 'aal2');
ALTER TYPE auth.aal_level OWNER TO supabase_auth_admin;
CREATE FUNCTION auth.uid() RETURNS uuid
    LANGUAGE sql STABLE
    AS $$
  select nullif(current_setting('request.jwt.claim.sub', true), '')::uuid
$$;
ALTER FUNCTION auth.uid() OWNER TO supabase_auth_admin;
CREATE FUNCTION extensions.grant_pg_net_access() RETURNS event_trigger
    LANGUAGE plpgsql
    AS $$ BEGIN END; $$;
ALTER FUNCTION extensions.grant_pg_net_access() OWNER TO supabase_admin;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE auth.users (
    id uuid NOT NULL,
    email character varying(255)
);
ALTER TABLE auth.users OWNER TO supabase_auth_admin;
CREATE TABLE public.notes (
    id integer NOT NULL,
    owner uuid,
    body text
);
ALTER TABLE public.notes OWNER TO postgres;
COPY auth.users (id, email) FROM stdin;
6ecd8c99-4036-403d-bf84-cf8400f67836	ann@example.com
\.
COPY public.notes (id, owner, body) FROM stdin;
1	6ecd8c99-4036-403d-bf84-cf8400f67836	first
2	\N	second
\.
COPY vault.secrets (id, name, secret) FROM stdin;
6ecd8c99-4036-403d-bf84-cf8400f67836	key	c2VjcmV0
\.
ALTER TABLE ONLY auth.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.notes
    ADD CONSTRAINT notes_pkey PRIMARY KEY (id);
CREATE INDEX notes_body ON public.notes USING gin (body extensions.gin_trgm_ops);
CREATE TRIGGER synced AFTER INSERT ON public.notes FOR EACH ROW EXECUTE FUNCTION supabase_functions.http_request('https://example.com');
ALTER TABLE ONLY public.notes
    ADD CONSTRAINT notes_owner_fkey FOREIGN KEY (owner) REFERENCES auth.users(id);
ALTER TABLE ONLY public.notes
    ADD CONSTRAINT notes_bucket_fkey FOREIGN KEY (body) REFERENCES storage.buckets(id);
CREATE POLICY "Own notes" ON public.notes TO authenticated USING ((auth.uid() = owner));
CREATE POLICY read_all ON public.notes FOR SELECT TO anon, authenticated USING (true);
CREATE POLICY stored ON public.notes FOR SELECT USING (storage.allows(id));
ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY;
CREATE PUBLICATION supabase_realtime WITH (publish = 'insert, update, delete, truncate');
ALTER PUBLICATION supabase_realtime OWNER TO postgres;
ALTER PUBLICATION supabase_realtime ADD TABLE ONLY public.notes;
GRANT USAGE ON SCHEMA auth TO anon;
GRANT USAGE ON SCHEMA auth TO dashboard_user;
GRANT ALL ON TABLE public.notes TO anon;
GRANT ALL ON TABLE public.notes TO authenticated;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON TABLES TO anon;
CREATE EVENT TRIGGER issue_pg_net_access ON ddl_command_end
         WHEN TAG IN ('CREATE EXTENSION')
   EXECUTE FUNCTION extensions.grant_pg_net_access();
ALTER EVENT TRIGGER issue_pg_net_access OWNER TO supabase_admin;

--
-- PostgreSQL database dump complete
--

\unrestrict k0aVn7QbR2
