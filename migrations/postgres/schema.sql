CREATE TYPE public.agent_row AS (
	tenant integer,
	name text,
	seen_at bigint,
	declaration text
);

CREATE TYPE public.history_row AS (
	task_no bigint,
	first bigint,
	last bigint,
	at bigint,
	day bigint,
	tenant integer,
	body bytea
);

CREATE TYPE public.note_row_2 AS (
	task_no bigint,
	kind smallint,
	place bigint,
	tenant integer,
	body bytea
);

CREATE TYPE public.output_row AS (
	task_no bigint,
	idx bigint,
	tenant integer,
	body bytea,
	artifacts text
);

CREATE TYPE public.plan_part_row_2 AS (
	task_no bigint,
	first bigint,
	tenant integer,
	nodes bytea
);

CREATE TYPE public.plan_row AS (
	task_no bigint,
	tenant integer,
	title text,
	request bytea,
	nodes bytea
);

CREATE TYPE public.session_row AS (
	no bigint,
	tenant integer,
	replica bigint,
	token bytea,
	connection bigint,
	state smallint,
	opened_at bigint,
	wake_at bigint,
	declaration text
);

CREATE TYPE public.subtask_row AS (
	task_no bigint,
	idx bigint,
	tenant integer,
	state smallint,
	route bigint,
	priority smallint,
	pending bigint,
	failures bigint,
	attempts bigint,
	losses bigint,
	held boolean,
	queued bigint,
	lease bigint,
	session_no bigint,
	outcome smallint,
	wake_at bigint,
	since bigint
);

CREATE TYPE public.subtask_row_2 AS (
	task_no bigint,
	idx bigint,
	tenant integer,
	state smallint,
	route bigint,
	priority smallint,
	pending bigint,
	failed bigint,
	skipped bigint,
	failures bigint,
	attempts bigint,
	losses bigint,
	held boolean,
	waived boolean,
	queued bigint,
	lease bigint,
	session_no bigint,
	outcome smallint,
	wake_at bigint,
	since bigint
);

CREATE TYPE public.task_row AS (
	no bigint,
	tenant integer,
	id text,
	digest bytea,
	status smallint,
	mode smallint,
	priority smallint,
	total bigint,
	unfinished bigint,
	failed bigint,
	in_review bigint,
	events bigint,
	created_at bigint,
	started_at bigint,
	ended_at bigint,
	deadline bigint,
	stopped_at bigint,
	due_at bigint,
	wake_at bigint,
	reason text
);

CREATE TYPE public.task_row_2 AS (
	no bigint,
	tenant integer,
	id text,
	digest bytea,
	status smallint,
	mode smallint,
	priority smallint,
	total bigint,
	unfinished bigint,
	failed bigint,
	in_review bigint,
	asking bigint,
	events bigint,
	created_at bigint,
	started_at bigint,
	ended_at bigint,
	deadline bigint,
	stopped_at bigint,
	due_at bigint,
	wake_at bigint,
	reason text
);

CREATE TABLE public.agents (
    tenant integer NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    seen_at bigint NOT NULL,
    declaration text NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_threshold='200', autovacuum_vacuum_scale_factor='0.02');

CREATE TABLE public.history (
    task_no bigint NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    at bigint NOT NULL,
    day integer NOT NULL,
    tenant integer NOT NULL,
    body bytea NOT NULL
)
PARTITION BY RANGE (day);

CREATE TABLE public.history_default (
    task_no bigint NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    at bigint NOT NULL,
    day integer NOT NULL,
    tenant integer NOT NULL,
    body bytea NOT NULL
);

CREATE TABLE public.notes (
    task_no bigint NOT NULL,
    place integer NOT NULL,
    tenant integer NOT NULL,
    kind smallint NOT NULL,
    body bytea NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_threshold='200', autovacuum_vacuum_scale_factor='0.02');

CREATE TABLE public.outputs (
    task_no bigint NOT NULL,
    idx integer NOT NULL,
    tenant integer NOT NULL,
    body bytea NOT NULL,
    artifacts text NOT NULL
);

CREATE TABLE public.plan_parts (
    task_no bigint NOT NULL,
    first integer NOT NULL,
    tenant integer NOT NULL,
    nodes bytea NOT NULL
);

CREATE TABLE public.plans (
    task_no bigint NOT NULL,
    tenant integer NOT NULL,
    title text NOT NULL,
    request bytea NOT NULL,
    nodes bytea NOT NULL
);

CREATE SEQUENCE public.replica_numbers
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE public.replicas (
    no bigint NOT NULL,
    joined_at bigint NOT NULL,
    beat_at bigint NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_threshold='100', autovacuum_vacuum_scale_factor='0');

CREATE TABLE public.routes (
    no bigint NOT NULL,
    tenant integer NOT NULL,
    agent text NOT NULL,
    capabilities text NOT NULL,
    digest bytea NOT NULL
);

CREATE TABLE public.schedules (
    no bigint NOT NULL,
    version bigint NOT NULL,
    wake_at bigint,
    tenant integer NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    spec bytea NOT NULL,
    state bytea NOT NULL,
    starts bytea NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_threshold='200', autovacuum_vacuum_scale_factor='0.02');

ALTER TABLE public.schedules ALTER COLUMN no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.schedules_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.schema_migrations (
    number integer NOT NULL,
    name text NOT NULL,
    digest text NOT NULL
);

CREATE TABLE public.sessions (
    no bigint NOT NULL,
    replica bigint NOT NULL,
    opened_at bigint NOT NULL,
    wake_at bigint,
    stamp bigint NOT NULL,
    connection bigint NOT NULL,
    tenant integer NOT NULL,
    state smallint NOT NULL,
    token bytea NOT NULL,
    declaration text NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_threshold='200', autovacuum_vacuum_scale_factor='0.02');

CREATE SEQUENCE public.stamps
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE public.subtasks (
    task_no bigint NOT NULL,
    route bigint NOT NULL,
    queued bigint,
    lease bigint,
    session_no bigint,
    wake_at bigint,
    since bigint NOT NULL,
    idx integer NOT NULL,
    tenant integer NOT NULL,
    pending integer NOT NULL,
    failures integer NOT NULL,
    attempts integer NOT NULL,
    losses integer NOT NULL,
    state smallint NOT NULL,
    priority smallint NOT NULL,
    outcome smallint,
    held boolean NOT NULL,
    waived boolean DEFAULT false NOT NULL,
    failed integer DEFAULT 0 NOT NULL,
    skipped integer DEFAULT 0 NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.05');

CREATE TABLE public.tasks (
    no bigint NOT NULL,
    stamp bigint NOT NULL,
    events bigint NOT NULL,
    created_at bigint NOT NULL,
    started_at bigint,
    ended_at bigint,
    deadline bigint,
    stopped_at bigint,
    due_at bigint,
    wake_at bigint,
    tenant integer NOT NULL,
    total integer NOT NULL,
    unfinished integer NOT NULL,
    failed integer NOT NULL,
    in_review integer NOT NULL,
    status smallint NOT NULL,
    mode smallint NOT NULL,
    priority smallint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    digest bytea NOT NULL,
    reason text NOT NULL,
    asking integer DEFAULT 0 NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.05');

CREATE TABLE public.tenants (
    no integer NOT NULL,
    name text NOT NULL
);

CREATE TABLE public.workflow_versions (
    created_at bigint NOT NULL,
    tenant integer NOT NULL,
    version integer NOT NULL,
    restores integer,
    name text NOT NULL COLLATE pg_catalog."C",
    description text NOT NULL,
    created_by text NOT NULL,
    digest bytea NOT NULL,
    definition bytea NOT NULL
);

CREATE TABLE public.workflows (
    tenant integer NOT NULL,
    version integer NOT NULL,
    deleted boolean NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C"
);

ALTER TABLE ONLY public.history ATTACH PARTITION public.history_default DEFAULT;

ALTER TABLE ONLY public.agents
    ADD CONSTRAINT agents_pkey PRIMARY KEY (tenant, name);

ALTER TABLE ONLY public.history
    ADD CONSTRAINT history_pkey PRIMARY KEY (task_no, last, day);

ALTER TABLE ONLY public.history_default
    ADD CONSTRAINT history_default_pkey PRIMARY KEY (task_no, last, day);

ALTER TABLE ONLY public.notes
    ADD CONSTRAINT notes_pkey PRIMARY KEY (task_no, kind, place);

ALTER TABLE ONLY public.outputs
    ADD CONSTRAINT outputs_pkey PRIMARY KEY (task_no, idx);

ALTER TABLE ONLY public.plan_parts
    ADD CONSTRAINT plan_parts_pkey PRIMARY KEY (task_no, first);

ALTER TABLE ONLY public.plans
    ADD CONSTRAINT plans_pkey PRIMARY KEY (task_no);

ALTER TABLE ONLY public.replicas
    ADD CONSTRAINT replicas_pkey PRIMARY KEY (no);

ALTER TABLE ONLY public.routes
    ADD CONSTRAINT routes_pkey PRIMARY KEY (no);

ALTER TABLE ONLY public.routes
    ADD CONSTRAINT routes_spec UNIQUE (tenant, digest);

ALTER TABLE ONLY public.schedules
    ADD CONSTRAINT schedules_name UNIQUE (tenant, name);

ALTER TABLE ONLY public.schedules
    ADD CONSTRAINT schedules_pkey PRIMARY KEY (no);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (no);

ALTER TABLE ONLY public.subtasks
    ADD CONSTRAINT subtasks_pkey PRIMARY KEY (task_no, idx);

ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_id UNIQUE (tenant, id);

ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (no);

ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_name UNIQUE (name);

ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (no);

ALTER TABLE ONLY public.workflow_versions
    ADD CONSTRAINT workflow_versions_pkey PRIMARY KEY (tenant, name, version);

ALTER TABLE ONLY public.workflows
    ADD CONSTRAINT workflows_pkey PRIMARY KEY (tenant, name);

CREATE INDEX schedules_waking ON public.schedules USING btree (wake_at) WHERE (wake_at IS NOT NULL);

CREATE INDEX sessions_waking ON public.sessions USING btree (wake_at) WHERE (wake_at IS NOT NULL);

CREATE INDEX subtasks_in_line ON public.subtasks USING btree (route, priority DESC, queued, task_no, idx) WHERE (queued IS NOT NULL);

CREATE INDEX subtasks_leased ON public.subtasks USING btree (session_no) WHERE (session_no IS NOT NULL);

CREATE INDEX subtasks_waking ON public.subtasks USING btree (wake_at) WHERE (wake_at IS NOT NULL);

CREATE INDEX tasks_listed ON public.tasks USING btree (tenant, status, ((- no)));

CREATE INDEX tasks_waking ON public.tasks USING btree (wake_at) WHERE (wake_at IS NOT NULL);

ALTER INDEX public.history_pkey ATTACH PARTITION public.history_default_pkey;
