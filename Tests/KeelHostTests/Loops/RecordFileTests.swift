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

    /// How many of the records are known.
    private func count(_ file: RecordFile, _ names: [String]) -> Int {
        names.count { file.words(key($0)) != nil }
    }

    @Test func readsBackWhatAnyoneWrote() throws {
        let folder = try TemporaryFolder()
        let path = folder.path("records/own.file")
        let one = RecordFile(path)
        #expect(one.words(key("a")) == nil)
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
        let names = (0..<4).map { "\($0)" }
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
                #expect(count(file, names) == kept, "byte \(at)")
                #expect(try file.append(records))
                #expect(try Files.read(path) == whole, "byte \(at)")
                #expect(count(file, names) == records.count)
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
        // Another run made it anew, longer than it was: nothing of that is cut off.
        try Files.remove(path)
        _ = try RecordFile(path).append((0..<9).map { (key("new \($0)"), [Int32(100 + $0)]) })
        #expect(try file.append([(key("d"), [5])]))
        #expect(count(file, ["c"]) == 0 && file.words(key("d")) == [5])
        #expect(count(RecordFile(path), (0..<9).map { "new \($0)" } + ["d"]) == 10)
    }

    /// A record that was damaged under the run is written once more.
    @Test func mendsWhatWasDamaged() throws {
        let folder = try TemporaryFolder()
        let path = folder.path("mended")
        let file = RecordFile(path)
        _ = try file.append([(key("a"), [1, 2]), (key("b"), [3])])
        let output = try OutputFile(path: path, mode: .append)
        try output.truncate(to: 40)
        try output.write([77] as [Int32])
        try output.write([Int32](repeating: 5, count: 8))
        try output.close()
        #expect(file.words(key("a")) == nil)
        #expect(try file.append([(key("a"), [1, 2])]))
        #expect(file.words(key("a")) == [1, 2])
    }

    @Test func whatIsNoFileIsLeftAlone() throws {
        let folder = try TemporaryFolder()
        let path = folder.path("folder")
        try Files.makeDirectory(path)
        let file = RecordFile(path)
        #expect(file.words(key("a")) == nil)
        #expect(throws: KeelError.self) { try file.append([(key("a"), [1])]) }
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
