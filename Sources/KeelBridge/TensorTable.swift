import CKeel
import KeelCore
import KeelTensor
import Synchronization

/// The tensors of one `loss` call, found by handles.
///
/// A handle is the call's generation and an index: one of another call, or a made-up one, is caught
/// and never followed.
struct TensorTable {
    /// Which sides of the batch went into a tensor: it tells which mask belongs to it.
    struct Sides: OptionSet {
        let rawValue: UInt8
        static let plain = Sides(rawValue: 1)
        static let chosen = Sides(rawValue: 2)
        static let rejected = Sides(rawValue: 4)
        static let mismatched = Sides(rawValue: 8)

        init(rawValue: UInt8) { self.rawValue = rawValue }

        init(column: String) {
            switch ColumnNames.split(column).prefix {
            case "": self = .plain
            case "chosen.": self = .chosen
            case "rejected.": self = .rejected
            case "mismatched.": self = .mismatched
            default: self = []
            }
        }

        /// The mask of this side, when it is one side.
        var mask: String? {
            switch self {
            case .plain: "mask"
            case .chosen: "chosen.mask"
            case .rejected: "rejected.mask"
            case .mismatched: "mismatched.mask"
            default: nil
            }
        }
    }

    struct Entry {
        var tensor: Tensor
        var sides: Sides
    }

    private static let generations = Atomic<UInt32>(1)

    let tape: Tape
    let device: Device
    /// What arithmetic runs in: f32 in training, f64 for checks.
    let dtype: DType
    /// Leaves by the column that was given.
    private(set) var leaves: [String: Tensor] = [:]
    private var inputs: [String: Entry] = [:]
    private var entries: [Entry] = []
    private let generation: UInt32
    /// Gradients that a component with `explicit_grad` has given.
    var explicit: [String: Column] = [:]

    init(device: Device, dtype: DType) {
        tape = Tape()
        self.device = device
        self.dtype = dtype
        generation = TensorTable.generations.add(1, ordering: .relaxed).newValue
    }

    mutating func add(_ entry: Entry) -> UInt64 {
        entries.append(entry)
        return UInt64(generation) << 32 | UInt64(entries.count)
    }

    func find(_ id: UInt64) throws(CallFailure) -> Entry {
        guard id != 0 else {
            throw CallFailure(.invalid, "uses a tensor that was never made (handle 0)")
        }
        guard UInt32(id >> 32) == generation else {
            throw CallFailure(
                .invalid,
                "uses a tensor of another call: handles end with the callback that made them")
        }
        let index = Int(id & 0xFFFF_FFFF) - 1
        guard entries.indices.contains(index) else {
            throw CallFailure(.invalid, "uses a tensor that was never made (handle \(id))")
        }
        return entries[index]
    }

    /// The tensor of a column; the same one when asked again.
    ///
    /// Columns of the current policy are leaves of the tape; one that follows from others is computed
    /// from their leaves, so that the gradient ends where the host can use it.
    mutating func input(_ name: String, from batch: ColumnBatch, _ column: Column) -> Entry {
        if let known = inputs[name] { return known }
        let sides = Sides(column: name)
        let entry: Entry
        if batch.columns[name] == nil, ColumnNames.isDifferentiable(name),
            let rule = ColumnNames.derivation(of: name), let source = batch.columns[rule.source],
            let mask = batch.columns[rule.mask]
        {
            let tokens = leaf(rule.source, source)
            let marks = tensor(mask)
            entry = Entry(
                tensor: rule.isMean
                    ? tokens.mean(axis: 1, mask: marks) : tokens.sum(axis: 1, mask: marks),
                sides: sides)
        } else if ColumnNames.isDifferentiable(name), !column.isInteger {
            entry = Entry(tensor: leaf(name, column), sides: sides)
        } else {
            entry = Entry(tensor: column.isInteger ? ids(column) : tensor(column), sides: sides)
        }
        inputs[name] = entry
        return entry
    }

    private mutating func leaf(_ name: String, _ column: Column) -> Tensor {
        if let known = leaves[name] { return known }
        let leaf = tape.leaf(tensor(column))
        leaves[name] = leaf
        return leaf
    }

    /// The column in the type of the arithmetic.
    func tensor(_ column: Column) -> Tensor {
        Tensor(column.values, shape: column.shape, dtype: dtype, device: device)
    }

    private func ids(_ column: Column) -> Tensor {
        guard case .ints(let values) = column.storage else { return tensor(column) }
        return Tensor(values, shape: column.shape, device: device)
    }

    func constant(_ column: Column) -> Tensor { column.isInteger ? ids(column) : tensor(column) }
}

// MARK: - The services of `loss`

extension Call {
    /// Runs a service that makes a tensor; after the first error every tensor is poisoned.
    func tensor(_ body: () throws(CallFailure) -> TensorTable.Entry) -> keel_t {
        guard !hasFailed else { return keel_t(id: 0) }
        do {
            let entry = try body()
            return keel_t(id: tensors?.add(entry) ?? 0)
        } catch {
            fail(error)
            return keel_t(id: 0)
        }
    }

    private func table(_ service: String) throws(CallFailure) -> TensorTable {
        guard let tensors else {
            throw CallFailure(.state, "\(service) belongs to `loss`, not to `\(stage.rawValue)`")
        }
        return tensors
    }

    func input(_ name: String) throws(CallFailure) -> TensorTable.Entry {
        _ = try table("`input`")
        let column = try find(name)
        guard let entry = tensors?.input(name, from: batch, column) else {
            throw CallFailure(.internal, "no tensors in this call")
        }
        return entry
    }

    func upload(_ array: keel_array) throws(CallFailure) -> TensorTable.Entry {
        let table = try table("`upload`")
        return TensorTable.Entry(
            tensor: table.constant(try Column(array, name: "upload")), sides: [])
    }

    func apply(
        _ code: Int32, inputs: [UInt64], constants: [Double]
    ) throws(CallFailure) -> TensorTable.Entry {
        let table = try table("an operation")
        guard let operation = TensorOps.table[code] else {
            throw CallFailure(.unsupported, "this Keel does not know operation \(code)")
        }
        var tensors: [Tensor] = []
        var sides: TensorTable.Sides = []
        for id in inputs {
            let entry = try table.find(id)
            tensors.append(entry.tensor)
            sides.formUnion(entry.sides)
        }
        let result = try operation.run(tensors, constants, dtype: table.dtype, device: table.device)
        return TensorTable.Entry(tensor: result, sides: sides)
    }

    func shape(_ id: UInt64) throws(CallFailure) -> [Int] {
        try table("`shape`").find(id).tensor.shape
    }

    func value(_ id: UInt64) throws(CallFailure) -> Column {
        let tensor = try table("`read`").find(id).tensor
        return Column(
            shape: tensor.shape,
            tensor.dtype == .i32 ? tensor.ints().map(Double.init) : tensor.doubles())
    }

    func giveGradient(_ name: String, _ array: keel_array) throws(CallFailure) {
        _ = try table("`grad`")
        guard instance.component.flags.contains(.explicitGradient) else {
            throw CallFailure(
                .state, "gives the gradient of \"\(name)\" without the flag KEEL_EXPLICIT_GRAD")
        }
        guard ColumnNames.isDifferentiable(name) else {
            throw CallFailure(.invalid, "gives a gradient for \"\(name)\", which is a constant")
        }
        let column = try find(name)
        let gradient = try Column(array, name: name)
        guard gradient.shape == column.shape else {
            throw CallFailure(
                .invalid, "the gradient of \(column.described(name)) has shape \(gradient.shape)")
        }
        tensors?.explicit[name] = gradient
    }

    /// Adds the cells of a tensor that count: live rows, cells under the mask.
    func addMetric(_ name: String, _ id: UInt64, _ how: MetricSums.How) throws(CallFailure) {
        guard !hasFailed else { return }
        let entry = try table("`metric_t`").find(id)
        let shape = entry.tensor.shape
        let cells =
            entry.tensor.dtype == .i32
            ? entry.tensor.ints().map(Double.init) : entry.tensor.doubles()
        let live = liveRows()
        metrics.add(name, .nan, how)  // The name is known even when no cell counts.
        switch shape.count {
        case 1 where shape[0] == batch.rows:
            for row in 0..<batch.rows where live.isLive[row] { metrics.add(name, cells[row], how) }
        case 2 where shape[0] == batch.rows:
            let marks = try mask(of: entry, shape: shape)
            for cell in cells.indices where live.isLive[cell / shape[1]] && marks[cell] != 0 {
                metrics.add(name, cells[cell], how)
            }
        case 0, 1:
            for value in cells { metrics.add(name, value, how) }
        default:
            throw CallFailure(
                .invalid, "metric \"\(name)\" has shape \(shape); [B], [B,T] and [] work")
        }
    }

    /// The mask of a tensor of shape [B,T]: that of the side it was made of.
    func mask(of entry: TensorTable.Entry, shape: [Int]) throws(CallFailure) -> [Double] {
        if let name = entry.sides.mask, let mask = batch.columns[name], mask.shape == shape {
            return mask.values
        }
        let fitting = ["mask", "chosen.mask", "rejected.mask"].compactMap { name in
            batch.columns[name].flatMap { $0.shape == shape ? $0 : nil }
        }
        if let first = fitting.first, fitting.count == 1 || batch.columns["mask"]?.shape == shape {
            return first.values
        }
        // One number per row in a column of its own needs no mask.
        if shape[1] == 1 { return [Double](repeating: 1, count: shape[0]) }
        throw CallFailure(.invalid, "no mask of the batch belongs to a tensor of shape \(shape)")
    }

    func liveRows() -> LiveRows {
        if let live = live { return live }
        let fresh = LiveRows(batch)
        live = fresh
        return fresh
    }
}
