//! End to end: the real binary, real databases, real workers, seen through the public contracts only. One test
//! per public flow; what goes wrong on purpose is in `faults.rs`.

mod e2e {
    mod again;
    mod agents;
    mod bad_input;
    mod children;
    mod context;
    mod gates;
    mod graph;
    mod groups;
    mod grpc;
    mod holds;
    mod killed;
    mod limits;
    mod nested;
    mod replicas;
    mod rest;
    mod review;
    mod rules;
    mod schedules;
    mod tasks;
    mod under_lease;
    mod worker_stream;
    mod workflows;
}
