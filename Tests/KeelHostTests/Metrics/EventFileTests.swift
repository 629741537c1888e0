import KeelCore
import KeelTestSupport
import Testing

@testable import KeelHost

@Suite struct EventFileTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// Check values of RFC 3720, appendix B.4.
    static let checkValues: [(bytes: [UInt8], crc: UInt32)] = [
        ([UInt8](repeating: 0, count: 32), 0x8A91_36AA),
        ([UInt8](repeating: 0xFF, count: 32), 0x62A8_AB43),
        (Array(0..<32), 0x46DD_794E), (Array("123456789".utf8), 0xE306_9283),
    ]

    @Test(arguments: checkValues)
    func checksums(bytes: [UInt8], crc: UInt32) {
        #expect(CRC32C.checksum(bytes) == crc)
    }

    @Test func scalarsAreReadBack() throws {
        let file = try EventFile(directory: folder.path)
        try file.scalars(step: 300, [("train/loss", 0.5), ("eval/loss", -2)])
        try file.text(step: 0, tag: "args", "{}")
        try file.close()
        let events = try eventFiles().flatMap { try EventFileTests.events(Files.read($0)) }
        #expect(events.count == 3)
        #expect(events[0][3] == [.bytes(Array("brain.Event:2".utf8))])
        #expect(events[1][2] == [.integer(300)])
        guard case .bytes(let summary)? = events[1][5]?.first else {
            Issue.record("no summary")
            return
        }
        let values = try EventFileTests.fields(summary)[1] ?? []
        let scalars = try values.map { value -> (String, Float) in
            guard case .bytes(let bytes) = value else { return ("", 0) }
            let parts = try EventFileTests.fields(bytes)
            guard case .bytes(let tag)? = parts[1]?.first,
                case .fixed32(let bits)? = parts[2]?.first
            else { return ("", 0) }
            return (String(decoding: tag, as: UTF8.self), Float(bitPattern: bits))
        }
        #expect(scalars.map(\.0) == ["train/loss", "eval/loss"])
        #expect(scalars.map(\.1) == [0.5, -2])
    }

    @Test func aRunThatLogsNothingLeavesNoFile() throws {
        let file = try EventFile(directory: folder.path)
        try file.close()
        #expect(!Files.exists(folder.path("runs")))
    }

    @Test func aResumedRunGoesOnInTheSameFolder() throws {
        for step in [nil, 20] {
            let file = try EventFile(directory: folder.path, resumedAt: step)
            try file.scalars(step: step ?? 0, [("train/loss", 1)])
            try file.close()
        }
        let files = try eventFiles()
        #expect(files.count == 2)
        #expect(Set(files.map(Files.parent)).count == 1)
        // The second file begins with SessionLog { START } at the first step that is done again.
        let events = try EventFileTests.events(Files.read(files[1]))
        #expect(events[1][2] == [.integer(21)])
        #expect(events[1][7] == [.bytes([8, 1])])
    }

    private func eventFiles() throws -> [String] {
        let runs = folder.path("runs")
        return try Files.list(runs).flatMap { run in
            try Files.list(Files.join(runs, run)).map { Files.join(Files.join(runs, run), $0) }
        }
    }

    // MARK: - A reader of its own

    enum Field: Equatable {
        case integer(UInt64), fixed64(UInt64), fixed32(UInt32), bytes([UInt8])
    }

    struct Malformed: Error {}

    /// The events of a file; every length and checksum is checked.
    static func events(_ bytes: [UInt8]) throws -> [[UInt64: [Field]]] {
        var events: [[UInt64: [Field]]] = []
        var at = 0
        while at < bytes.count {
            guard at + 12 <= bytes.count else { throw Malformed() }
            let length = Int(number(bytes[at..<at + 8]))
            let end = at + 12 + length
            guard end + 4 <= bytes.count,
                number(bytes[(at + 8)..<(at + 12)])
                    == UInt64(CRC32C.masked(Array(bytes[at..<at + 8]))),
                number(bytes[end..<end + 4]) == UInt64(CRC32C.masked(Array(bytes[(at + 12)..<end])))
            else { throw Malformed() }
            events.append(try fields(Array(bytes[(at + 12)..<end])))
            at = end + 4
        }
        return events
    }

    static func fields(_ bytes: [UInt8]) throws -> [UInt64: [Field]] {
        var result: [UInt64: [Field]] = [:]
        var at = 0
        func varint() throws -> UInt64 {
            var value: UInt64 = 0
            for shift in stride(from: UInt64(0), to: 64, by: 7) {
                guard at < bytes.count else { throw Malformed() }
                value |= UInt64(bytes[at] & 0x7F) << shift
                at += 1
                if bytes[at - 1] < 0x80 { return value }
            }
            throw Malformed()
        }
        while at < bytes.count {
            let key = try varint()
            let field: Field
            switch key & 7 {
            case 0: field = .integer(try varint())
            case 1:
                field = .fixed64(number(bytes[at..<at + 8]))
                at += 8
            case 2:
                let count = Int(try varint())
                guard at + count <= bytes.count else { throw Malformed() }
                field = .bytes(Array(bytes[at..<at + count]))
                at += count
            case 5:
                field = .fixed32(UInt32(number(bytes[at..<at + 4])))
                at += 4
            default: throw Malformed()
            }
            result[key >> 3, default: []].append(field)
        }
        return result
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}
