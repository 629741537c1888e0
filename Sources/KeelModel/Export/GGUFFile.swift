import KeelCore

/// A GGUF file, version 3: what llama.cpp loads.
///
///     "GGUF", u32 version, u64 tensors, u64 values, the values, the tensors' names and places, zeros up to the
///     alignment, the cells; all little-endian
package struct GGUFFile {
    /// A value of the head.
    package enum Value: Sendable, Equatable {
        case u32(Int)
        case f32(Double)
        case bool(Bool)
        case string(String)
        case bytes([UInt8])
        case i32s([Int32])
        case f32s([Float])
        case strings([String])
    }

    /// How cells are stored.
    package enum CellType: String, Sendable, CaseIterable {
        case f32
        case f16
        case bf16

        /// The number of ggml's type.
        fileprivate var code: UInt32 {
            switch self {
            case .f32: 0
            case .f16: 1
            case .bf16: 30
            }
        }

        /// The number of llama.cpp's `general.file_type`: most cells are of this type.
        var fileType: Int {
            switch self {
            case .f32: 0
            case .f16: 1
            case .bf16: 32
            }
        }

        var size: Int { self == .f32 ? 4 : 2 }
    }

    /// A tensor, made when its turn comes.
    package struct Item {
        package var name: String
        /// Row-major, the last axis runs fastest.
        package var shape: [Int]
        package var type: CellType
        /// The cells in row-major order.
        package var cells: () throws -> [Float]

        var count: Int { shape.reduce(1, *) }
    }

    package var values: [(key: String, value: Value)] = []
    package var items: [Item] = []

    private static let alignment = 32

    package init() {}

    package mutating func set(_ key: String, _ value: Value?) {
        if let value { values.append((key, value)) }
    }

    /// Writes the file: whole or absent, one tensor in memory at a time.
    ///
    /// - Throws: `KeelError` (io, cannotCreate), and what the tensors throw.
    package func write(_ path: String) throws {
        var head = Head()
        head.bytes += Array("GGUF".utf8)
        head.word(3 as UInt32)
        head.word(UInt64(items.count))
        head.word(UInt64(values.count))
        for (key, value) in values { head.pair(key, value) }
        var offset = 0
        for item in items {
            head.text(item.name)
            head.word(UInt32(item.shape.count))
            // The axis that runs fastest comes first.
            for length in item.shape.reversed() { head.word(UInt64(length)) }
            head.word(item.type.code)
            head.word(UInt64(offset))
            offset += GGUFFile.aligned(item.count * item.type.size)
        }
        head.bytes += GGUFFile.padding(behind: head.bytes.count)
        try AtomicWrite.file(path) { output in
            try output.write(head.bytes)
            for item in items {
                let cells = try item.cells()
                precondition(cells.count == item.count, "\(item.name): \(cells.count) cells")
                let bytes = item.type.encode(cells)
                try output.write(bytes)
                try output.write(GGUFFile.padding(behind: bytes.count))
            }
        }
    }

    private static func aligned(_ size: Int) -> Int {
        (size + alignment - 1) / alignment * alignment
    }

    private static func padding(behind size: Int) -> [UInt8] {
        [UInt8](repeating: 0, count: aligned(size) - size)
    }
}

extension GGUFFile.CellType {
    /// Cells rounded to nearest, ties to even.
    fileprivate func encode(_ cells: [Float]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(cells.count * size)
        for cell in cells {
            switch self {
            case .f32: bytes.append(littleEndian: cell.bitPattern)
            case .f16: bytes.append(littleEndian: Float16(cell).bitPattern)
            case .bf16: bytes.append(littleEndian: GGUFFile.CellType.bf16(cell))
            }
        }
        return bytes
    }

    private static func bf16(_ value: Float) -> UInt16 {
        let bits = value.bitPattern
        if value.isNaN { return UInt16(bits >> 16) | 0x40 }
        return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ ((bits >> 16) & 1)) >> 16)
    }
}

extension [UInt8] {
    fileprivate mutating func append<T: FixedWidthInteger & UnsignedInteger>(littleEndian word: T) {
        for shift in stride(from: 0, to: T.bitWidth, by: 8) {
            append(UInt8(truncatingIfNeeded: word >> T(shift)))
        }
    }
}

/// The head of a file while it grows.
private struct Head {
    var bytes: [UInt8] = []

    mutating func word(_ value: some FixedWidthInteger & UnsignedInteger) {
        bytes.append(littleEndian: value)
    }

    mutating func text(_ text: String) {
        word(UInt64(text.utf8.count))
        bytes += text.utf8
    }

    /// A key, the number of its type, and the value.
    mutating func pair(_ key: String, _ value: GGUFFile.Value) {
        text(key)
        switch value {
        case .u32(let number):
            word(4 as UInt32)
            word(UInt32(number))
        case .f32(let number):
            word(6 as UInt32)
            word(Float(number).bitPattern)
        case .bool(let flag):
            word(7 as UInt32)
            bytes.append(flag ? 1 : 0)
        case .string(let value):
            word(8 as UInt32)
            text(value)
        case .bytes(let values):
            list(0, values.count)
            bytes += values
        case .i32s(let values):
            list(5, values.count)
            for value in values { word(UInt32(bitPattern: value)) }
        case .f32s(let values):
            list(6, values.count)
            for value in values { word(value.bitPattern) }
        case .strings(let values):
            list(8, values.count)
            for value in values { text(value) }
        }
    }

    private mutating func list(_ type: UInt32, _ count: Int) {
        word(9 as UInt32)
        word(type)
        word(UInt64(count))
    }
}
