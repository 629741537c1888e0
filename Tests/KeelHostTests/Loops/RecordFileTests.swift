import KeelCore
import KeelTestSupport
import Testing

@testable import KeelHost

struct RecordFileTests {
    private func key(_ name: String) -> RecordFile.Key {
        var hash = SHA256()
        hash.update(name)
        return RecordFile.Key(hash)
    }

    @Test func readsBackWhatAnyoneWrote() throws {
        let folder = try TemporaryFolder()
        let path = folder.path("records/own.file")
        let one = RecordFile(path)
        #expect(one.count == 0 && one.words(key("a")) == nil)
        #expect(try one.append([(key("a"), [1, -2, 3]), (key("empty"), [])]))
        let other = RecordFile(path)
        #expect(other.words(key("a")) == [1, -2, 3])
        #expect(try other.append([(key("b"), [4])]))
        // The first meets what the second wrote when it writes itself, and writes nothing a second time.
        #expect(one.words(key("b")) == nil)
        let size = try #require(Files.size(path))
        #expect(try one.append([(key("b"), [5])]))
        #expect(one.words(key("b")) == [4] && one.words(key("empty")) == [])
        #expect(Files.size(path) == size)
    }

    /// More than a piece, a record longer than a piece among them.
    @Test func readsLongFiles() throws {
        let folder = try TemporaryFolder()
        let path = folder.path("long")
        let lengths = [100_000, 300_000, 1, 200_000, 77]
        _ = try RecordFile(path).append(
            lengths.enumerated().map { (key("\($0)"), [Int32](repeating: Int32($0), count: $1)) })
        let read = RecordFile(path)
        #expect(read.count == lengths.count)
        for (number, length) in lengths.enumerated() {
            #expect(
                read.words(key("\(number)")) == [Int32](repeating: Int32(number), count: length))
        }
    }

    /// Any byte changed, or the end missing: what stands before is kept, what follows is forgotten and written anew.
    @Test func damageEndsTheFile() throws {
        let folder = try TemporaryFolder()
        let path = folder.path("damaged")
        let records = (0..<4).map { number in
            (key: key("\(number)"), words: [Int32](repeating: Int32(number), count: number))
        }
        _ = try RecordFile(path).append(records)
        let whole = try Files.read(path)
        var starts = [8]
        for record in records {
            starts.append(starts[starts.count - 1] + 4 * (record.words.count + 7))
        }
        #expect(starts.last == whole.count)
        for at in 0..<whole.count {
            var broken = whole
            broken[at] ^= 0x10
            let cut = Array(whole.prefix(at))
            let kept = starts.dropFirst().count { $0 <= at }
            for bytes in [broken, cut] {
                try AtomicWrite.file(path, bytes)
                let file = RecordFile(path)
                #expect(file.count == kept, "byte \(at)")
                #expect(try file.append(records))
                #expect(try Files.read(path) == whole, "byte \(at)")
                #expect(file.count == records.count)
            }
        }
    }

    /// Damage under an open file is met where it is read; a file that is gone is begun anew.
    @Test func followsTheFile() throws {
        let folder = try TemporaryFolder()
        let path = folder.path("followed")
        let file = RecordFile(path)
        _ = try file.append([(key("a"), [1, 2]), (key("b"), [3])])
        let output = try OutputFile(path: path, mode: .append)
        try output.truncate(to: 44)
        try output.close()
        #expect(file.words(key("a")) == [1, 2] && file.words(key("b")) == nil)
        #expect(try file.append([(key("b"), [3])]))
        #expect(file.words(key("a")) == [1, 2] && file.words(key("b")) == [3])
        try Files.remove(path)
        #expect(try file.append([(key("c"), [4])]))
        #expect(file.words(key("a")) == nil && file.words(key("c")) == [4])
    }

    /// Nothing is written while another does.
    @Test func waitsForOthers() throws {
        let folder = try TemporaryFolder()
        let path = folder.path("busy/file")
        let file = RecordFile(path)
        _ = try file.append([])
        let lock = try #require(FolderLock(folder.path("busy")))
        #expect(try file.append([(key("a"), [1])]) == false)
        withExtendedLifetime(lock) {}
        #expect(file.words(key("a")) == nil)
    }
}
