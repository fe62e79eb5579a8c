//! A line that loses one answer: after the first request was delivered, it is cut.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Opens a line to `target` whose first connection is cut when the answer begins; all later ones
/// pass everything. It ends with the process.
pub(super) fn open(target: SocketAddr) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        let mut lossy = true;
        for worker in listener.incoming().flatten() {
            let Ok(master) = TcpStream::connect(target) else { continue };
            let cut = std::mem::take(&mut lossy);
            thread::spawn(
                move || if cut { lose_the_answer(worker, master) } else { pass(worker, master) },
            );
        }
    });
    Ok(address)
}

fn pass(worker: TcpStream, master: TcpStream) {
    let (Ok(from_master), Ok(to_worker)) = (master.try_clone(), worker.try_clone()) else { return };
    let back = thread::spawn(move || copy(from_master, to_worker));
    copy(worker, master);
    // The other direction ends by itself when its sockets close.
    drop(back.join());
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // A line that breaks is a line that ends.
    let _ended = std::io::copy(&mut from, &mut to);
    let _closed = to.shutdown(Shutdown::Write);
}

/// Passes the handshake and the request, and cuts the line when the master begins to answer: by then
/// its answer is final.
fn lose_the_answer(worker: TcpStream, master: TcpStream) {
    let (Ok(mut from_master), Ok(mut to_worker)) = (master.try_clone(), worker.try_clone()) else {
        return;
    };
    let (asked, was_asked) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let (mut worker, mut master, mut records) = (worker, master, 0);
        while let Ok(record) = read_record(&mut worker) {
            // In TLS 1.3 the first encrypted record of a client ends its handshake; the second is
            // the request.
            records += u32::from(record.first() == Some(&APPLICATION_DATA));
            if master.write_all(&record).is_err() {
                return;
            }
            if records == 2 {
                let _told = asked.send(());
            }
        }
    });
    while let Ok(record) = read_record(&mut from_master) {
        if was_asked.try_recv().is_ok() || to_worker.write_all(&record).is_err() {
            break;
        }
    }
    for end in [&from_master, &to_worker] {
        let _closed = end.shutdown(Shutdown::Both);
    }
}

const APPLICATION_DATA: u8 = 23;

/// One TLS record with its header (RFC 8446, 5.1).
fn read_record(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut record = vec![0; 5];
    stream.read_exact(&mut record)?;
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    stream.read_exact(&mut record[5..])?;
    Ok(record)
}
