-- {name}, {day} and {next} are filled in: DDL takes no parameters. Attaching, unlike creating in place, does
-- not stop those who write. A long reader of the history may delay it; then the next round gets there.
set local lock_timeout = '2s';
create table {name} (like history including all);
alter table history attach partition {name} for values from ({day}) to ({next});
