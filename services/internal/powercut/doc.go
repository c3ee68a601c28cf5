// Package powercut gives tests a file system whose power can be cut: all that
// was not synced is forgotten. Only tests import it.
//
// What survives is what ext4 promises in its default mode (data=ordered), and
// nothing that it only happens to do:
//
//   - The data and the size of a file survive from an fsync or fdatasync of that
//     file on, or a write through O_SYNC or O_DSYNC. Closing it, syncing another
//     file and the passing of time sync nothing.
//   - What happens in folders (create, rename, unlink, mkdir, rmdir) survives, in
//     the order in which it happened, from the next fsync of whatever file or
//     folder on: the journal is one, and is committed whole.
//   - A rename over a file that exists syncs the data of the renamed one, as ext4
//     does to save programs that forget to (auto_da_alloc).
//
// A write survives whole or not at all; torn writes are not modelled, nor is a
// disk that lies about what it has. Files cannot be mapped for shared writing:
// nats-server does not.
package powercut
