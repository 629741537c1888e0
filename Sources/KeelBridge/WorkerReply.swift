import CKeel
import CWorker
import KeelCore

/// What a worker answered to one request.
struct WorkerReply {
    /// Zero, or the code that the callback returned or recorded.
    var status: Int32 = 0
    /// What was recorded as a failure, KW_SAYS or another kind, and its text; nil = nothing.
    var failure: (kind: Int32, text: String)?
    /// In the order in which the plugin reported them.
    var metrics: [(name: String, how: MetricSums.How, value: Double)] = []
    var columns: [(name: String, column: Column)] = []
    /// What each row took, where the worker could tell.
    var milliseconds: [Double] = []
    var questions: [[UInt8]?] = []
    /// Columns that `create` asked for.
    var needs: [String] = []
    /// The state's length, also of one too long to be sent.
    var stateLength: Int?
    var state: [UInt8]?
    /// A plugin's descriptor in one block.
    var image: [UInt8]?

    struct Malformed: Error {
        var what: String
    }

    /// Reads a stream that cworker.h lays out.
    ///
    /// - Throws: `Malformed` for bytes that keel-worker did not write: a plugin may have.
    init(_ bytes: UnsafeRawBufferPointer) throws(Malformed) {
        var reader = Reader(bytes: bytes)
        status = Int32(truncatingIfNeeded: try reader.word())
        let kind = Int32(truncatingIfNeeded: try reader.word())
        if let text = try reader.text() {
            failure = (kind, String(decoding: text, as: UTF8.self))
        }
        let names = try reader.list { (r) throws(Malformed) in try r.name() }
        metrics = try reader.list { (r) throws(Malformed) in
            let words = try r.word()
            let value = Double(bitPattern: try r.word())
            let name = Int(UInt32(truncatingIfNeeded: words))
            guard name < names.count, let how = MetricSums.How(rawValue: Int(words >> 32)) else {
                throw Malformed(what: "a metric without a name")
            }
            return (names[name], how, value)
        }
        columns = try reader.list { (r) throws(Malformed) in
            (try r.name(), try r.column())
        }
        milliseconds = try reader.list { (r) throws(Malformed) in Double(bitPattern: try r.word()) }
        questions = try reader.list { (r) throws(Malformed) in try r.text().map(Array.init) }
        needs = try reader.list { (r) throws(Malformed) in try r.name() }
        let length = try reader.word()
        stateLength = length == KW_ABSENT ? nil : Int(exactly: length)
        state = try reader.text().map(Array.init)
        image = try reader.text().map(Array.init)
    }

    private struct Reader {
        let bytes: UnsafeRawBufferPointer
        var at = 0

        mutating func take(_ count: Int) throws(Malformed) -> UnsafeRawBufferPointer {
            guard count >= 0, count <= bytes.count - at else {
                throw Malformed(what: "an answer that ends early")
            }
            defer { at += count }
            return UnsafeRawBufferPointer(rebasing: bytes[at..<at + count])
        }

        mutating func word() throws(Malformed) -> UInt64 {
            try take(8).loadUnaligned(as: UInt64.self)
        }

        mutating func count() throws(Malformed) -> Int {
            guard let count = Int(exactly: try word()), count <= bytes.count else {
                throw Malformed(what: "a length beyond the answer's")
            }
            return count
        }

        mutating func pad() throws(Malformed) { _ = try take(-at & 7) }

        mutating func text() throws(Malformed) -> UnsafeRawBufferPointer? {
            let length = try word()
            guard length != KW_ABSENT else { return nil }
            guard let count = Int(exactly: length) else { throw Malformed(what: "a long text") }
            let text = try take(count)
            _ = try take(1)
            try pad()
            return text
        }

        mutating func name() throws(Malformed) -> String {
            String(
                decoding: try text() ?? UnsafeRawBufferPointer(start: nil, count: 0), as: UTF8.self)
        }

        mutating func list<T>(
            _ one: (inout Reader) throws(Malformed) -> T
        ) throws(Malformed) -> [T] {
            let count = try count()
            var out: [T] = []
            out.reserveCapacity(count)
            for _ in 0..<count { out.append(try one(&self)) }
            return out
        }

        mutating func column() throws(Malformed) -> Column {
            let code = try word()
            let bits = try word()
            let shape = try list { (r) throws(Malformed) in try r.count() }
            var cells = 1
            for length in shape {
                let (product, overflow) = cells.multipliedReportingOverflow(by: length)
                guard !overflow, product <= bytes.count else {
                    throw Malformed(what: "a column beyond the answer's end")
                }
                cells = product
            }
            let raw = try take(cells * Int(bits & 0xFF) / 8)
            try pad()
            var array = keel_array()
            let lengths = shape.map(Int64.init)
            array.data = UnsafeMutableRawPointer(mutating: raw.baseAddress)
            array.device_type = 1
            array.ndim = Int32(shape.count)
            array.code = UInt8(truncatingIfNeeded: code)
            array.bits = UInt8(truncatingIfNeeded: bits)
            array.lanes = 1
            let made = lengths.withUnsafeBufferPointer { pointer -> Result<Column, CallFailure> in
                array.shape = pointer.baseAddress
                do throws(CallFailure) {
                    return .success(try Column(array, name: "given"))
                } catch { return .failure(error) }
            }
            switch made {
            case .success(let column): return column
            case .failure(let failure): throw Malformed(what: failure.text)
            }
        }
    }
}
