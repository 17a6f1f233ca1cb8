//! Which disk a folder is.

use crate::disk::Disk;
use crate::real::RealDisk;
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Gives the disk in place of a folder.
pub type Disks = Rc<dyn Fn(&Path) -> io::Result<Arc<dyn Disk>>>;

thread_local! {
    static DISKS: RefCell<Option<Disks>> = const { RefCell::new(None) };
}

/// From now on [`disk_of`] gives what `disks` gives, on this thread; none: folders are folders.
pub fn simulate_disks(disks: Option<Disks>) {
    DISKS.with_borrow_mut(|place| *place = disks);
}

/// The disk whose root is `folder`, which is made if it is not there.
///
/// # Errors
/// What the system says.
pub fn disk_of(folder: &Path) -> io::Result<Arc<dyn Disk>> {
    let simulated = DISKS.with_borrow(Clone::clone);
    match simulated {
        Some(disks) => disks(folder),
        None => Ok(Arc::new(RealDisk::new(folder.to_owned())?)),
    }
}
