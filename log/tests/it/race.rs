//! A read during which its segment is given back and its file used again, made to happen by a disk that
//! does something in the middle of a read.

use std::io;
use std::sync::{Arc, Mutex};

use log::sim::SimDisk;
use log::{Disk, DiskFile, Log, LogError, Open, Position};

use crate::model::config;

/// What to do in the middle of things, after so many more reads.
type Trap = Arc<Mutex<Option<(u32, Box<dyn FnOnce() + Send>)>>>;

struct TrapDisk(SimDisk, Trap);
struct TrapFile(Arc<dyn DiskFile>, Trap);

impl Disk for TrapDisk {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(TrapFile(self.0.open(name, how)?, self.1.clone())))
    }
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.0.list(folder)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.0.sync_folder(folder)
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }
    fn salt(&self) -> u64 {
        self.0.salt()
    }
}

impl DiskFile for TrapFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut trap = self.1.lock().unwrap();
        let due = match trap.as_mut() {
            Some((0, _)) => trap.take(),
            Some((reads, _)) => {
                *reads -= 1;
                None
            }
            None => None,
        };
        drop(trap);
        if let Some((_, act)) = due {
            act();
        }
        self.0.read_at(buf, offset)
    }
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn start_writeback(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.start_writeback(offset, len)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.allocate(offset, len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.punch_hole(offset, len)
    }
}

#[test]
fn a_read_whose_segment_is_recycled_under_it_never_returns_anothers_bytes() {
    // The trap springs before the read's first or second access of the disk.
    for (ranged, reads) in [(false, 0), (true, 0), (true, 1)] {
        let trap = Trap::default();
        let disk = Arc::new(TrapDisk(SimDisk::new(), trap.clone()));
        let log = Log::open(disk, config(), Position::default(), &mut |_| Ok(())).unwrap();
        let log = Arc::new(Mutex::new(log));
        let fill = |byte: u8, log: &mut Log| {
            let at: Vec<Position> = (0..3).map(|_| log.append(1, &[&[byte; 1200]]).unwrap()).collect();
            log.sync().unwrap();
            at
        };
        let secret = fill(1, &mut log.lock().unwrap())[1];
        let reader = log.lock().unwrap().reader();
        let recycle = log.clone();
        let act = move || {
            let log = &mut recycle.lock().unwrap();
            fill(2, log);
            log.release_before(Position::new(1, u32::MAX)).unwrap();
            let reused = fill(3, log);
            assert!(reused.iter().any(|at| at.segment() == 3), "the first file is in its second use");
        };
        *trap.lock().unwrap() = Some((reads, Box::new(act)));
        let outcome = match ranged {
            true => reader.read_range(secret, 10, 100).map(|_| ()),
            false => reader.read(secret).map(|_| ()),
        };
        assert!(
            matches!(outcome, Err(LogError::NotFound(at)) if at == secret),
            "{ranged} {reads}: {outcome:?}"
        );
        assert!(trap.lock().unwrap().is_none(), "the trap sprang");
    }
}
