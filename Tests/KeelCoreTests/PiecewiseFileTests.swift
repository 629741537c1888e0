import Foundation
import KeelCore
import Testing

@Suite struct PiecewiseFileTests {
    private func withFile<T>(_ bytes: [UInt8], _ body: (String) throws -> T) throws -> T {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent(
            "keel-\(UUID().uuidString)"
        ).path
        try AtomicWrite.file(path, bytes)
        defer { try? Files.remove(path) }
        return try body(path)
    }

    @Test func anyRangeIsRead() throws {
        let bytes = (0..<70_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        try withFile(bytes) { path in
            let file = try PiecewiseFile(path)
            #expect(file.count == bytes.count)
            for range in [0..<0, 0..<1, 69_999..<70_000, 123..<65_777, 0..<70_000] {
                #expect(try file.bytes(range) == Array(bytes[range]))
            }
            try file.checkUnchanged()
        }
    }

    @Test func whatIsCutOrWrittenToIsAnError() throws {
        try withFile([UInt8](repeating: 7, count: 10_000)) { path in
            let file = try PiecewiseFile(path)
            #expect(truncate(path, 4096) == 0)
            #expect(try file.bytes(0..<4096).count == 4096)
            let cut = try #require(throws: KeelError.self) { _ = try file.bytes(4000..<5000) }
            #expect(
                cut.what == "the file changed while it was read: it ends at byte 4096 of 10000")
            #expect(cut.code == .io && cut.at == path && cut.fix != nil)
            let changed = try #require(throws: KeelError.self) { try file.checkUnchanged() }
            #expect(changed.what.contains("4096 bytes, not 10000"))
        }
    }

    /// A file that is replaced is still the one that was opened.
    @Test func aReplacedFileStaysReadable() throws {
        try withFile([1, 2, 3]) { path in
            let file = try PiecewiseFile(path)
            try AtomicWrite.file(path, [9, 9, 9, 9] as [UInt8])
            #expect(try file.bytes(0..<3) == [1, 2, 3])
            try file.checkUnchanged()
        }
    }

    @Test func onlyFilesAreOpened() throws {
        let missing = try #require(throws: KeelError.self) { _ = try PiecewiseFile("/nowhere/x") }
        #expect(missing.code == .noInput && missing.what.contains("cannot read the file"))
        let folder = try #require(throws: KeelError.self) { _ = try PiecewiseFile("/tmp") }
        #expect(folder.code == .noInput && folder.what == "not a regular file")
    }

    @Test(arguments: [0, 1, 63, 64, 127, 128, 129, 255, 256, 300, 8191, 8192, 100_003])
    func halvesAreHashedAsEachAlone(count: Int) {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 29 ^ $0 >> 5) }
        let middle = count / 128 * 64
        #expect(
            SHA256.halves(bytes) == SHA256.hex(Array(bytes[..<middle]))
                + SHA256.hex(Array(bytes[middle...])))
    }

    @Test(arguments: [0, 1, 1 << 20, 2_600_001])
    func theHashOfAFileIsThatOfItsBytes(count: Int) throws {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 3) }
        let hash = try withFile(bytes) { try SHA256.hex(file: $0) }
        #expect(hash == SHA256.hex(bytes))
    }
}
