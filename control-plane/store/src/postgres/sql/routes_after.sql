-- $1 number
select no, tenant, agent, capabilities from routes where no > $1::bigint order by no
