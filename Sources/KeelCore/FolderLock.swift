import Glibc

/// One process's hold on a folder, from `init` until it is let go or the process ends, however that happens.
///
/// The folder itself is locked: nothing is written into it, and nothing of it is left.
package final class FolderLock {
    private let descriptor: Int32

    /// - Returns: nil where another process, or another lock of this one, holds the folder. Where the file system
    ///   has no locks (some network ones), or there is no such folder, nobody is kept away.
    package init?(_ path: String) {
        descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0, flock(descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK
        else { return }
        return nil
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }
}
