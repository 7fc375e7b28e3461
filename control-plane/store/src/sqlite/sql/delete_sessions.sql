delete from sessions where no = ?1
