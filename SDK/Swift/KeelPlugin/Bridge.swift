// Where Swift meets the C interface: the only files of the SDK that touch pointers are called Bridge.
@_exported import CKeel
import Glibc

/// The call of the host that a callback runs in.
///
/// Valid until the callback returns, on the thread it runs on. What it answers are copies.
public struct Call {
    let raw: UnsafeMutablePointer<keel_call>

    // MARK: Errors, log, metrics

    /// Records an error, which ends the call once the callback returns; the first of a call wins.
    ///
    /// Throwing does the same.
    public func fail(_ code: PluginError.Code, _ text: String) {
        _ = keel_fail(raw, code.rawValue, text)
    }
    /// Writes a line to the run's log; the host limits how many.
    public func log(_ text: String, warning: Bool = false) {
        keel_note(raw, Int32(warning ? KEEL_LOG_WARNING : KEEL_LOG_INFO), text)
    }
    /// Whether the run is stopping: return soon.
    public var isCancelled: Bool { keel_cancelled(raw) != 0 }
    /// Adds a number to a metric of this step; NaN is left out.
    public func metric(_ name: String, _ value: Double, _ how: MetricKind = .mean) {
        keel_metric_as(raw, name, value, how.rawValue)
    }
    func metric(_ name: String, _ tensor: Tensor, _ how: MetricKind) {
        keel_metric_t_as(raw, name, tensor.id, how.rawValue)
    }

    // MARK: Parameters and facts

    func number(_ name: String) -> Double { keel_num(raw, name) }
    func string(_ name: String) -> String { Call.string(keel_string(raw, name)) ?? "" }
    func json(_ name: String) -> String { Call.string(keel_json(raw, name)) ?? "" }
    func list(_ name: String) -> [Double] {
        var count = 0
        guard let numbers = keel_list(raw, name, &count) else { return [] }
        return Array(UnsafeBufferPointer(start: numbers, count: count))
    }
    /// A fact of the run, as "step" or "eos_token_id" (`keel.h` lists them); NaN when unknown.
    public func fact(_ name: String) -> Double { keel_fact(raw, name) }
    /// The phase this call belongs to; "policy" where none are declared.
    public var phase: String { keel_phase_name(raw).map { String(cString: $0) } ?? "policy" }
    /// In `setup`: asks for one more column, by its name in the C interface; "name?" is optional.
    ///
    /// Of an objective a kind of data ("scored"): its rows are of this kind instead of those that `needs` names.
    public func need(_ column: String) { _ = keel_need(raw, column) }
    /// In `setup`: chooses the reduction.
    ///
    /// - Parameter constant: the denominator of `.constant`; 0 = the host's.
    public func reduce(_ reduction: Reduction, constant: Double = 0) {
        _ = keel_reduction(raw, reduction.rawValue, constant)
    }
    /// The host's table of an optional area, as "keel.logits/1"; nil when it has none.
    ///
    /// It begins with its size as a `UInt32` and lives as long as the process.
    public func query(_ id: String) -> UnsafeRawPointer? { keel_query(raw, id) }

    // MARK: Random numbers

    /// 64 bits, a pure function of the run's seed, this component, step or epoch, row and n.
    public func random(_ row: Int, _ n: UInt64) -> UInt64 { keel_random(raw, row, n) }
    /// A number in [0, 1), likewise.
    public func uniform(_ row: Int, _ n: UInt64) -> Double { keel_uniform(raw, row, n) }

    // MARK: Data

    /// The number of rows of the call.
    public var rows: Int { keel_rows(raw) }
    /// Whether the call has a column that the component needs.
    public func has(_ column: String) -> Bool { keel_has(raw, column) != 0 }
    func text(_ column: String, _ row: Int) -> String? { Call.string(keel_text(raw, column, row)) }
    func bytes(_ column: String, _ row: Int) -> [UInt8]? {
        Call.buffer(keel_text(raw, column, row)).map(Array.init)
    }
    func field(_ pointer: String, _ row: Int) -> String? {
        Call.string(keel_field(raw, row, pointer))
    }
    func tokens(_ row: Int) -> (ids: [Int32], prompt: Int) {
        var prompt = 0
        var total = 0
        guard let ids = keel_tokens(raw, row, &prompt, &total) else { return ([], 0) }
        return (Array(UnsafeBufferPointer(start: ids, count: total)), prompt)
    }
    func column(_ name: String) throws -> Column {
        var array = keel_array()
        try check(keel_column(raw, name, &array), "column \(name)")
        return Call.copy(&array)
    }
    /// One cell of a column of shape [rows]; nil when there is no such column.
    func cell(_ name: String, _ row: Int) -> Double? {
        var array = keel_array()
        guard has(name), keel_column(raw, name, &array) == KEEL_OK, array.ndim == 1,
            let data = array.data, row >= 0, row < Int(array.shape[0])
        else { return nil }
        return Int(array.code) == KEEL_INT
            ? Double(data.assumingMemoryBound(to: Int32.self)[row])
            : data.assumingMemoryBound(to: Double.self)[row]
    }
    func put(_ name: String, _ column: Column) throws {
        try check(try lend(column, name) { keel_put(raw, name, $0) }, "column \(name)")
    }
    func ask(_ row: Int, _ question: String) throws {
        var question = question
        let status = question.withUTF8 { text in
            text.withMemoryRebound(to: CChar.self) {
                keel_put_text(raw, "ask", row, $0.baseAddress, $0.count)
            }
        }
        try check(status, "the question of row \(row)")
    }
    func write(_ bytes: [UInt8]) throws { try check(keel_write(raw, bytes, bytes.count), "state") }

    // MARK: Tensors

    func input(_ column: String) -> Tensor { Tensor(id: keel_in(raw, column), call: self) }
    func op(_ code: Int, _ inputs: [Tensor], _ constants: [Double]) -> Tensor {
        let ids = inputs.map(\.id)
        return Tensor(
            id: keel_op(raw, Int32(code), ids, ids.count, constants, constants.count), call: self)
    }
    func shape(of tensor: Tensor) -> [Int]? {
        var lengths = [Int64](repeating: 0, count: 8)
        let rank = keel_shape(raw, tensor.id, &lengths, lengths.count)
        return rank < 0 ? nil : lengths.prefix(Int(rank)).map(Int.init)
    }
    func read(_ tensor: Tensor) throws -> Column {
        var array = keel_array()
        try check(keel_read(raw, tensor.id, &array), "the value of a tensor")
        return Call.copy(&array)
    }
    func gradient(_ name: String, _ column: Column) throws {
        try check(
            try lend(column, name) { keel_grad(raw, name, $0) }, "the gradient of \(name)")
    }
    /// A constant tensor of these cells; only in `loss`.
    public func constant(_ column: Column) -> Tensor {
        do {
            return Tensor(id: try lend(column, "constant") { keel_upload(raw, $0) }, call: self)
        } catch {
            fail(.invalid, "\(error)")
            return Tensor(id: keel_t(), call: self)
        }
    }
    /// A constant tensor of one number in every cell; without a shape a single number.
    public func full(_ value: Double, _ shape: [Int] = []) -> Tensor {
        op(KEEL_OP_FULL, [], [value] + shape.map(Double.init))
    }
    /// Whether this host knows an operation, `KEEL_OP_...`.
    public func isSupported(_ code: Int) -> Bool { keel_op_supported(raw, Int32(code)) != 0 }

    // MARK: Help

    /// Throws after the host has recorded an error; its own text stays.
    private func check(_ status: keel_status, _ what: String) throws {
        guard status == KEEL_OK else {
            throw PluginError(
                PluginError.Code(rawValue: status) ?? .internalError, "\(what) was refused")
        }
    }
    /// Cells of the host as numbers of our own.
    private static func copy(_ array: inout keel_array) -> Column {
        let count = keel_cells(&array)
        let shape = (0..<Int(array.ndim)).map { Int(array.shape[$0]) }
        guard count > 0, let data = array.data else { return Column([], shape: shape) }
        if Int(array.code) == KEEL_INT {
            let cells = UnsafeBufferPointer(
                start: data.assumingMemoryBound(to: Int32.self), count: count)
            return Column(cells.map(Double.init), shape: shape)
        }
        let cells = UnsafeBufferPointer(
            start: data.assumingMemoryBound(to: Double.self), count: count)
        return Column(Array(cells), shape: shape)
    }
    /// Our own cells as an array for the host, which copies them.
    private func lend<R>(
        _ column: Column, _ name: String, _ body: (UnsafePointer<keel_array>) -> R
    ) throws -> R {
        guard column.values.count == column.shape.reduce(1, *) else {
            throw PluginError(
                .invalid, "column \(name): \(column.values.count) cells for shape \(column.shape)")
        }
        let shape = column.shape.map(Int64.init)
        return column.values.withUnsafeBufferPointer { cells in
            shape.withUnsafeBufferPointer { lengths in
                var array = keel_array_f64(
                    cells.baseAddress, lengths.baseAddress, Int32(shape.count))
                return body(&array)
            }
        }
    }
    private static func buffer(_ text: keel_str) -> UnsafeRawBufferPointer? {
        text.p.map { UnsafeRawBufferPointer(start: $0, count: text.n) }
    }
    private static func string(_ text: keel_str) -> String? {
        buffer(text).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Runs a callback; what it throws becomes the call's error.
    func run<Result>(_ fallback: Result, _ body: () throws -> Result) -> Result {
        do { return try body() } catch let error as PluginError {
            fail(error.code, error.description)
        } catch {
            fail(.internalError, "\(error)")
        }
        return fallback
    }
}
