import Glibc
import KeelCore

/// A TensorBoard event file, made when its first event is: a run that logs nothing leaves none.
///
/// A record is `length u64, crc(length) u32, data, crc(data) u32`, little endian; the CRCs are masked
/// CRC32C; the data is a `tensorflow.Event` message.
package final class EventFile {
    private let folder: String
    private let resumedAt: Int?
    private var file: OutputFile?

    /// - Parameters:
    ///   - directory: the run directory; the file goes to `runs/<MonDD_HH-MM-SS>_<host>/` in it, or to
    ///     `TENSORBOARD_LOGGING_DIR`.
    ///   - resumedAt: the checkpoint's step; the newest folder of the run is gone on with, and TensorBoard
    ///     told to forget what it has of later steps.
    package init(directory: String, resumedAt step: Int? = nil) throws {
        resumedAt = step
        if let folder = Files.environment("TENSORBOARD_LOGGING_DIR") {
            self.folder = folder
            return
        }
        let runs = Files.join(directory, "runs")
        var newest: String?
        if step != nil, Files.isDirectory(runs) {
            newest = try Files.list(runs).map { Files.join(runs, $0) }.filter(Files.isDirectory)
                .max { (Files.modified($0) ?? 0) < (Files.modified($1) ?? 0) }
        }
        let fresh = "\(Clock.text("%b%d_%H-%M-%S"))_\(EventFile.hostName)"
        folder = newest ?? Files.join(runs, fresh)
    }

    /// Writes one event with a scalar per tag and hands it to the system.
    package func scalars(step: Int, _ values: [(tag: String, value: Double)]) throws {
        var summary = Message()
        for (tag, value) in values {
            var scalar = Message()
            scalar.text(1, tag)
            scalar.float(2, Float(value))
            summary.message(1, scalar)
        }
        try event(step: step) { $0.message(5, summary) }
    }

    /// Writes one event with a text for the tab "Text", under the tag `<tag>/text_summary`.
    package func text(step: Int, tag: String, _ text: String) throws {
        var size = Message()
        size.integer(1, 1)
        var shape = Message()
        shape.message(2, size)
        var tensor = Message()
        tensor.integer(1, 7)  // DT_STRING
        tensor.message(2, shape)
        tensor.text(8, text)
        var plugin = Message()
        plugin.text(1, "text")
        var metadata = Message()
        metadata.message(1, plugin)
        var value = Message()
        value.text(1, "\(tag)/text_summary")
        value.message(8, tensor)
        value.message(9, metadata)
        var summary = Message()
        summary.message(1, value)
        try event(step: step) { $0.message(5, summary) }
    }

    package func sync() throws { try file?.sync() }

    package func close() throws {
        try file?.close()
        file = nil
    }

    // MARK: - Records

    private func event(step: Int, _ fill: (inout Message) -> Void) throws {
        let file = try opened()
        try EventFile.record(step: step, to: file, fill)
        try file.flush()
    }

    private func opened() throws -> OutputFile {
        if let file { return file }
        try Files.makeDirectory(folder)
        let name = "events.out.tfevents.\(Int(Clock.wall())).\(EventFile.hostName)"
        var path = Files.join(folder, name)
        var number = 0
        while Files.exists(path) {
            number += 1
            path = Files.join(folder, "\(name).\(number)")
        }
        let file = try OutputFile(path: path, mode: .create)
        try EventFile.record(step: nil, to: file) { $0.text(3, "brain.Event:2") }
        if let resumedAt {
            // SessionLog { status: START }: what the folder has of this step and later is void.
            var session = Message()
            session.integer(1, 1)
            try EventFile.record(step: resumedAt + 1, to: file) { $0.message(7, session) }
        }
        self.file = file
        return file
    }

    private static func record(
        step: Int?, to file: OutputFile, _ fill: (inout Message) -> Void
    ) throws {
        var event = Message()
        event.double(1, Clock.wall())
        if let step { event.integer(2, UInt64(max(0, step))) }
        fill(&event)
        let length = littleEndian(UInt64(event.bytes.count))
        try file.write(length)
        try file.write(littleEndian(CRC32C.masked(length)))
        try file.write(event.bytes)
        try file.write(littleEndian(CRC32C.masked(event.bytes)))
    }

    static let hostName: String = {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "localhost" }
        let bytes = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        let text = String(decoding: bytes, as: UTF8.self)
        return text.isEmpty || text.contains("/") ? "localhost" : text
    }()
}

private func littleEndian<Number: FixedWidthInteger & UnsignedInteger>(_ value: Number) -> [UInt8] {
    (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}

/// A protobuf message being encoded.
private struct Message {
    var bytes: [UInt8] = []

    /// A field of wire type 0.
    mutating func integer(_ field: UInt64, _ value: UInt64) {
        varint(field << 3)
        varint(value)
    }

    /// A field of wire type 1.
    mutating func double(_ field: UInt64, _ value: Double) {
        varint(field << 3 | 1)
        bytes += littleEndian(value.bitPattern)
    }

    /// A field of wire type 5.
    mutating func float(_ field: UInt64, _ value: Float) {
        varint(field << 3 | 5)
        bytes += littleEndian(value.bitPattern)
    }

    mutating func text(_ field: UInt64, _ value: String) { delimited(field, Array(value.utf8)) }

    mutating func message(_ field: UInt64, _ value: Message) { delimited(field, value.bytes) }

    private mutating func delimited(_ field: UInt64, _ value: [UInt8]) {
        varint(field << 3 | 2)
        varint(UInt64(value.count))
        bytes += value
    }

    private mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}

/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), as TensorFlow's record files mask it.
enum CRC32C {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { crc, _ in crc >> 1 ^ (crc & 1 == 1 ? 0x82F6_3B78 : 0) }
    }

    static func checksum(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(~0) { table[Int(($0 ^ UInt32($1)) & 0xFF)] ^ $0 >> 8 }
    }

    static func masked(_ bytes: [UInt8]) -> UInt32 {
        let crc = checksum(bytes)
        return (crc >> 15 | crc << 17) &+ 0xA282_EAD8
    }
}
