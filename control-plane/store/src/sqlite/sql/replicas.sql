select no from replicas order by no
