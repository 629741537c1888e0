import KeelCore

/// A folder of its own for one test, removed with everything in it.
package final class TemporaryFolder {
    package let path: String

    package init() throws {
        var bits = SystemRandomNumberGenerator()
        let name = String(bits.next(), radix: 36)
        path = Files.join(Files.environment("TMPDIR") ?? "/tmp", "keel-test-\(name)")
        try Files.makeDirectory(path)
    }

    deinit { try? Files.remove(path) }

    /// The path of a file in it.
    package func path(_ name: String) -> String { Files.join(path, name) }

    /// Writes a text file and gives its path.
    @discardableResult
    package func write(_ name: String, _ text: String) throws -> String {
        let file = path(name)
        try Files.makeDirectory(Files.parent(file))
        try AtomicWrite.file(file, text)
        return file
    }

    /// What a file in it holds.
    package func read(_ name: String) throws -> String { try Files.readText(path(name)) }
}
