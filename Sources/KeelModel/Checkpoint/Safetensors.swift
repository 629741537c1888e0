import KeelCore
import KeelTensor

/// What a safetensors file calls its types.
package enum StoredType: String, Sendable, CaseIterable {
    case f64 = "F64"
    case f32 = "F32"
    case f16 = "F16"
    case bf16 = "BF16"
    case i64 = "I64"
    case i32 = "I32"
    case i16 = "I16"
    case i8 = "I8"
    case u64 = "U64"
    case u32 = "U32"
    case u16 = "U16"
    case u8 = "U8"
    case bool = "BOOL"
    case f8e4m3 = "F8_E4M3"
    case f8e5m2 = "F8_E5M2"
    case f8e8m0 = "F8_E8M0"
    case c64 = "C64"

    /// Bytes of one cell.
    package var size: Int {
        switch self {
        case .f64, .i64, .u64, .c64: 8
        case .f32, .i32, .u32: 4
        case .f16, .bf16, .i16, .u16: 2
        case .i8, .u8, .bool, .f8e4m3, .f8e5m2, .f8e8m0: 1
        }
    }

    /// transformers' name of a type that weights are stored as, as in `"dtype": "bfloat16"`.
    package var configName: String? {
        switch self {
        case .f64: "float64"
        case .f32: "float32"
        case .f16: "float16"
        case .bf16: "bfloat16"
        default: nil
        }
    }
}

/// A safetensors file: names, types and shapes checked against the bytes that are there.
///
///     8 bytes: n, little endian   n bytes: JSON header   the data
///
/// Nothing the header claims is trusted: every tensor lies inside the data, its bytes are what type and
/// shape need, and the tensors fill the data without holes or overlaps. Data are read when asked for.
package final class SafetensorsFile: Sendable {
    /// One tensor of the file.
    package struct Entry: Sendable, Equatable {
        package let name: String
        package let type: StoredType
        package let shape: [Int]
        /// Where its bytes lie, from the start of the file.
        package let range: Range<Int>

        /// The number of cells.
        package var count: Int { range.count / type.size }
    }

    package let path: String
    /// The tensors in the order of the header.
    package let entries: [Entry]
    /// The texts of `__metadata__`.
    package let metadata: JSONObject

    /// The bytes.
    let file: PiecewiseFile
    /// Bytes of length and header.
    private let dataStart: Int
    private let places: [String: Int]

    /// Longest header that is read: what the reference library accepts.
    private static let longestHeader = 100_000_000

    /// Opens and checks a file.
    ///
    /// - Throws: `KeelError`: `noInput` when the file is missing, `badData` for all that is wrong in it.
    package init(_ path: String) throws {
        self.path = path
        file = try PiecewiseFile(path)
        guard file.count >= 8 else {
            throw SafetensorsFile.bad(
                "\(file.count) bytes are too few for a safetensors file", path)
        }
        let claimed = try file.bytes(0..<8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard claimed <= UInt64(file.count - 8) else {
            throw SafetensorsFile.bad(
                "the header is said to have \(claimed) bytes, but the file has \(file.count)", path
            )
        }
        guard claimed <= UInt64(SafetensorsFile.longestHeader) else {
            throw SafetensorsFile.bad("a header of \(claimed) bytes is too long", path)
        }
        dataStart = 8 + Int(claimed)
        let text = try file.bytes(8..<dataStart)
        guard text.first == UInt8(ascii: "{") else {
            throw SafetensorsFile.bad("the header is not a JSON object", path)
        }
        let json = try JSON.parse(
            text, name: "\(path) (header)", duplicates: .reject, maxDepth: 16)
        guard let header = json.object else {
            throw SafetensorsFile.bad("the header is not a JSON object", path)
        }
        var metadata = JSONObject()
        var entries: [Entry] = []
        entries.reserveCapacity(header.count)
        var places: [String: Int] = [:]
        for (name, value) in header {
            if name == "__metadata__" {
                metadata = try SafetensorsFile.checkedMetadata(value, path)
                continue
            }
            guard places.updateValue(entries.count, forKey: name) == nil else {
                throw SafetensorsFile.bad("the name \"\(name)\" stands twice in the header", path)
            }
            entries.append(
                try SafetensorsFile.entry(
                    name, value, dataStart: dataStart, fileSize: file.count, path))
        }
        try SafetensorsFile.checkCover(entries, dataStart..<file.count, path)
        self.metadata = metadata
        self.entries = entries
        self.places = places
    }

    /// The entry of a name, or nil.
    package subscript(name: String) -> Entry? {
        places[name].map { entries[$0] }
    }

    /// The cells of an entry as a tensor of `dtype`: f64, f32, bf16 and f16 files are widened or rounded.
    ///
    /// - Throws: `KeelError` (badData) when the file holds another type, (io) when it changes meanwhile.
    package func tensor(_ entry: Entry, dtype: DType, device: Device) throws -> Tensor {
        let tensor = Tensor(roomFor: entry.shape, dtype: dtype, device: device)
        var reading = WeightReading()
        try reading.add(entry, of: self, to: tensor)
        try reading.run(on: device)
        return tensor
    }

    /// The raw bytes of an entry.
    ///
    /// - Throws: `KeelError` (io) for a file that has become shorter.
    package func bytes(_ entry: Entry) throws -> [UInt8] { try file.bytes(entry.range) }

    /// Length and header, then the tensors in the order of their bytes: all of the file.
    var parts: [(entry: Entry?, range: Range<Int>)] {
        [(nil, 0..<dataStart)]
            + entries.filter { !$0.range.isEmpty }.sorted {
                $0.range.lowerBound < $1.range.lowerBound
            }.map { ($0, $0.range) }
    }

    /// What an entry is stored as, where tensors have such a type; nil is half precision.
    ///
    /// - Parameter dtype: what it is read as: integers are not converted.
    /// - Throws: `KeelError` (badData) for all other types.
    func type(of entry: Entry, readAs dtype: DType) throws -> DType? {
        switch entry.type {
        case .f64: return .f64
        case .f32: return .f32
        case .bf16: return .bf16
        case .f16: return nil
        case .i32 where dtype == .i32: return .i32
        default:
            throw KeelError(
                "safetensors", "weights stored as \(entry.type.rawValue) cannot be used",
                at: "\(path), tensor \(entry.name)", fix: "convert the file to F32, BF16 or F16",
                code: .badData)
        }
    }

    /// IEEE half precision as a float, exactly.
    static func widened(_ half: UInt16) -> Float {
        let sign = UInt32(half & 0x8000) << 16
        let exponent = UInt32(half >> 10) & 0x1F
        let fraction = UInt32(half & 0x3FF)
        switch exponent {
        case 0:  // zero and subnormals: fraction * 2^-24
            let value = Float(fraction) * 0x1p-24
            return sign == 0 ? value : -value
        case 31: return Float(bitPattern: sign | 0x7F80_0000 | fraction << 13)
        default: return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
        }
    }
}

// MARK: - Checks

extension SafetensorsFile {
    private static func bad(_ what: String, _ path: String, tensor: String? = nil) -> KeelError {
        KeelError(
            "safetensors", what, at: tensor.map { "\(path), tensor \($0)" } ?? path,
            fix: "the file is damaged or not a safetensors file: get it again", code: .badData)
    }

    private static func checkedMetadata(_ value: JSON, _ path: String) throws -> JSONObject {
        guard let object = value.object else { throw bad("__metadata__ is not an object", path) }
        for (key, text) in object where text.string == nil {
            throw bad("__metadata__ \"\(key)\" is \(text.kind), not a string", path)
        }
        return object
    }

    private static func entry(
        _ name: String, _ value: JSON, dataStart: Int, fileSize: Int, _ path: String
    ) throws -> Entry {
        guard let object = value.object else {
            throw bad("\(value.kind) describes it", path, tensor: name)
        }
        guard let typeName = object["dtype"]?.string else {
            throw bad("no \"dtype\"", path, tensor: name)
        }
        guard let type = StoredType(rawValue: typeName) else {
            throw bad("unknown type \"\(typeName)\"", path, tensor: name)
        }
        guard let lengths = object["shape"]?.array else {
            throw bad("no \"shape\"", path, tensor: name)
        }
        var shape: [Int] = []
        var size = type.size
        for length in lengths {
            guard case .int(let length) = length, length >= 0, let length = Int(exactly: length)
            else {
                throw bad("a shape of \(object["shape"]?.text() ?? "")", path, tensor: name)
            }
            let product = size.multipliedReportingOverflow(by: length)
            guard !product.overflow else {
                throw bad(
                    "the shape \(object["shape"]?.text() ?? "") overflows", path, tensor: name)
            }
            size = product.partialValue
            shape.append(length)
        }
        guard let offsets = object["data_offsets"]?.array, offsets.count == 2,
            case .int(let begin) = offsets[0], case .int(let end) = offsets[1], begin >= 0,
            begin <= end
        else {
            throw bad(
                "data_offsets \(object["data_offsets"]?.text() ?? "missing")", path, tensor: name)
        }
        guard end <= Int64(fileSize - dataStart) else {
            throw bad(
                "its data end at \(end), but there are \(fileSize - dataStart) bytes of data", path,
                tensor: name)
        }
        guard Int(end - begin) == size else {
            throw bad(
                "\(end - begin) bytes of data for shape \(shape) of \(typeName), which needs \(size)",
                path,
                tensor: name)
        }
        return Entry(
            name: name, type: type, shape: shape,
            range: dataStart + Int(begin)..<dataStart + Int(end))
    }

    /// Tensors fill the data from the first byte to the last, each byte once.
    private static func checkCover(_ entries: [Entry], _ data: Range<Int>, _ path: String) throws {
        var at = data.lowerBound
        let sorted = entries.sorted {
            ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
        }
        for entry in sorted {
            guard entry.range.lowerBound == at else {
                let what =
                    entry.range.lowerBound < at
                    ? "its bytes overlap another tensor's"
                    : "\(entry.range.lowerBound - at) unused bytes before it"
                throw bad(what, path, tensor: entry.name)
            }
            at = entry.range.upperBound
        }
        guard at == data.upperBound else {
            throw bad("\(data.upperBound - at) bytes after the last tensor", path)
        }
    }
}
