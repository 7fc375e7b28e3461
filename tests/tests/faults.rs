//! What goes wrong in the world: processes killed and frozen, streams cut, databases away, disks full. Judged
//! by what clients and workers saw: nothing is lost, nothing is done twice, no event number is missing.

mod faults {
    mod chaos;
    mod crash;
    mod database;
    mod frozen;
    mod network;
    mod storm;
}
