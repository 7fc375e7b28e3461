select sql from sqlite_schema where sql is not null order by tbl_name, type desc, name
