import KeelCore
import KeelTensor

/// The operations of the contract on the host's tensors.
///
/// Numbers and meanings stand in `keel.h`.
///
/// Everything a plugin can get wrong is checked here, so that the engine's own checks never fire.
enum TensorOps {
    /// Tensors and constants of one operation, checked while they are read.
    struct Arguments {
        let name: String
        let inputs: [Tensor]
        let k: [Double]
        let dtype: DType
        let device: Device

        var shapes: String { inputs.map { "\($0.shape)" }.joined(separator: ", ") }

        func refuse(_ what: String) -> CallFailure {
            CallFailure(.invalid, "\(name)(\(shapes)): \(what)")
        }

        /// An input in the type of the arithmetic.
        func x(_ index: Int = 0) -> Tensor {
            let tensor = inputs[index]
            return tensor.dtype == dtype ? tensor : tensor.cast(dtype)
        }

        func integer(_ index: Int, _ what: String) throws(CallFailure) -> Int {
            guard let value = Int(exactly: k[index]) else {
                throw refuse("\(what) is \(k[index]), not an integer")
            }
            return value
        }

        /// An axis counted from the front; `fallback` where no constant is given.
        func axis(_ index: Int, of tensor: Tensor, fallback: Int? = nil) throws(CallFailure) -> Int
        {
            let wanted: Int
            if index < k.count {
                wanted = try integer(index, "the axis")
            } else {
                wanted = fallback ?? -1
            }
            guard let axis = Shape.axis(wanted, rank: tensor.rank) else {
                throw refuse("there is no axis \(wanted) in shape \(tensor.shape)")
            }
            return axis
        }

        func checkBroadcast(_ a: [Int], _ b: [Int]) throws(CallFailure) -> [Int] {
            guard let shape = Shape.broadcast(a, b) else {
                throw refuse("the shapes \(a) and \(b) do not broadcast")
            }
            return shape
        }

        /// Indices as whole numbers in `0 ..< bound`.
        func checkIndices(_ tensor: Tensor, below bound: Int) throws(CallFailure) {
            let values = tensor.dtype == .i32 ? tensor.ints().map(Double.init) : tensor.doubles()
            for value in values
            where !(value >= 0 && value < Double(bound) && value == value.rounded()) {
                throw refuse("the index \(Parameter.text(value)) is outside 0 ..< \(bound)")
            }
        }

        /// A shape given by constants; at most one -1 where `open` says so.
        func lengths(from first: Int) throws(CallFailure) -> [Int] {
            var out: [Int] = []
            for index in first..<max(first, k.count) { out.append(try integer(index, "a length")) }
            let cells = out.reduce(1.0) { $0 * Double(abs($1)) }
            guard out.count <= 8, out.allSatisfy({ $0 >= -1 }), cells <= Double(1 << 31) else {
                throw refuse("the shape \(out) cannot be made")
            }
            return out
        }
    }

    struct Operation: Sendable {
        let name: String
        let inputs: ClosedRange<Int>
        let constants: ClosedRange<Int>
        let body: @Sendable (Arguments) throws(CallFailure) -> Tensor

        func run(
            _ tensors: [Tensor], _ k: [Double], dtype: DType, device: Device
        ) throws(CallFailure) -> Tensor {
            let arguments = Arguments(
                name: name, inputs: tensors, k: k, dtype: dtype, device: device)
            guard inputs.contains(tensors.count) else {
                throw arguments.refuse(
                    "takes \(Operation.words(inputs)) tensors, got \(tensors.count)")
            }
            guard constants.contains(k.count) else {
                throw arguments.refuse(
                    "takes \(Operation.words(constants)) constants, got \(k.count)")
            }
            return try body(arguments)
        }

        private static func words(_ range: ClosedRange<Int>) -> String {
            range.lowerBound == range.upperBound
                ? "\(range.lowerBound)" : "\(range.lowerBound) to \(range.upperBound)"
        }
    }

    typealias Body = @Sendable (Arguments) throws(CallFailure) -> Tensor

    private static func binary(
        _ name: String, _ f: @escaping @Sendable (Tensor, Tensor) -> Tensor
    ) -> Operation {
        Operation(name: name, inputs: 2...2, constants: 0...0) { (a) throws(CallFailure) in
            _ = try a.checkBroadcast(a.inputs[0].shape, a.inputs[1].shape)
            return f(a.x(0), a.x(1))
        }
    }

    private static func unary(
        _ name: String, _ f: @escaping @Sendable (Tensor) -> Tensor
    ) -> Operation {
        Operation(name: name, inputs: 1...1, constants: 0...0) { (a) throws(CallFailure) in f(a.x())
        }
    }

    private static func constant(
        _ name: String, _ f: @escaping @Sendable (Tensor, Double) -> Tensor
    ) -> Operation {
        Operation(name: name, inputs: 1...1, constants: 1...1) { (a) throws(CallFailure) in
            f(a.x(), a.k[0])
        }
    }

    private static func reduction(
        _ name: String, _ f: @escaping @Sendable (Tensor, Int?, Bool, Tensor?) -> Tensor
    ) -> Operation {
        Operation(name: name, inputs: 1...2, constants: 0...2) { (a) throws(CallFailure) in
            let x = a.x()
            let axis = a.k.isEmpty ? nil : try a.axis(0, of: x)
            var mask: Tensor?
            if a.inputs.count == 2 {
                guard Shape.broadcast(a.inputs[1].shape, x.shape) == x.shape else {
                    throw a.refuse("the mask \(a.inputs[1].shape) does not broadcast to \(x.shape)")
                }
                mask = a.x(1).detach()
            }
            return f(x, axis, a.k.count > 1 && a.k[1] != 0, mask)
        }
    }

    private static func along(
        _ name: String, flags: Int = 0, _ f: @escaping @Sendable (Tensor, Int, Bool) -> Tensor
    ) -> Operation {
        Operation(name: name, inputs: 1...1, constants: 0...1 + flags) { (a) throws(CallFailure) in
            let x = a.x()
            return f(x, try a.axis(0, of: x), a.k.count > 1 && a.k[1] != 0)
        }
    }

    /// Every operation by its code.
    static let table: [Int32: Operation] = {
        var table: [Int32: Operation] = [
            1: binary("add") { $0 + $1 },
            2: binary("sub") { $0 - $1 },
            3: binary("mul") { $0 * $1 },
            4: binary("div") { $0 / $1 },
            5: binary("min") { Tensor.minimum($0, $1) },
            6: binary("max") { Tensor.maximum($0, $1) },
            7: binary("pow") { Tensor.pow($0, $1) },
            8: select,
            20: unary("neg") { $0.negated() },
            21: unary("exp") { $0.exp() },
            22: unary("log") { $0.log() },
            23: unary("log1p") { $0.log1p() },
            24: unary("expm1") { $0.expm1() },
            25: unary("sqrt") { $0.sqrt() },
            26: unary("square") { $0.square() },
            27: unary("abs") { $0.abs() },
            28: unary("sigmoid") { $0.sigmoid() },
            29: unary("log_sigmoid") { $0.logSigmoid() },
            30: unary("softplus") { $0.softplus() },
            31: unary("tanh") { $0.tanh() },
            32: unary("relu") { $0.relu() },
            33: unary("reciprocal") { $0.reciprocal() },
            34: unary("log1mexp") { $0.log1mexp() },
            60: constant("scale") { $0.scale($1) },
            61: constant("offset") { $0.offset($1) },
            62: clamp,
            63: constant("gt") { $0.gt($1) },
            64: constant("ge") { $0.ge($1) },
            65: constant("lt") { $0.lt($1) },
            66: constant("le") { $0.le($1) },
            67: constant("eq") { $0.eq($1) },
            80: reduction("sum") { $0.sum(axis: $1, keepDims: $2, mask: $3) },
            81: reduction("mean") { $0.mean(axis: $1, keepDims: $2, mask: $3) },
            82: reduction("amax") { $0.amax(axis: $1, keepDims: $2, mask: $3) },
            83: reduction("amin") { $0.amin(axis: $1, keepDims: $2, mask: $3) },
            84: reduction("logsumexp") { $0.logsumexp(axis: $1, keepDims: $2, mask: $3) },
            100: along("softmax") { x, axis, _ in x.softmax(axis: axis) },
            101: along("log_softmax") { x, axis, _ in x.logSoftmax(axis: axis) },
            102: along("cumsum", flags: 1) { $0.cumsum(axis: $1, reverse: $2) },
            103: along("sort", flags: 1) { $0.sort(axis: $1, descending: $2) },
        ]
        for (code, operation) in shapes { table[code] = operation }
        for (code, operation) in control { table[code] = operation }
        return table
    }()

    private static let select = Operation(name: "where", inputs: 3...3, constants: 0...0) {
        (a) throws(CallFailure) in
        let sides = try a.checkBroadcast(a.inputs[1].shape, a.inputs[2].shape)
        _ = try a.checkBroadcast(a.inputs[0].shape, sides)
        return Tensor.where(a.x(0).detach(), a.x(1), a.x(2))
    }

    private static let clamp = Operation(name: "clamp", inputs: 1...1, constants: 2...2) {
        (a) throws(CallFailure) in
        guard a.k[0] <= a.k[1] else {
            throw a.refuse("the bounds \(a.k[0]) and \(a.k[1]) are in the wrong order")
        }
        return a.x().clamp(a.k[0], a.k[1])
    }

    private static let shapes: [Int32: Operation] = [
        120: Operation(name: "reshape", inputs: 1...1, constants: 0...8) {
            (a) throws(CallFailure) in
            let x = a.inputs[0]
            var shape = try a.lengths(from: 0)
            let open = shape.indices.filter { shape[$0] == -1 }
            let known = shape.reduce(1) { $1 == -1 ? $0 : $0 * $1 }
            if let free = open.first, open.count == 1, known > 0 { shape[free] = x.count / known }
            guard !shape.contains(-1), Shape.count(shape) == x.count else {
                throw a.refuse("cannot take the shape \(a.k.map(Parameter.text))")
            }
            return x.reshaped(shape)
        },
        121: Operation(name: "slice", inputs: 1...1, constants: 3...3) { (a) throws(CallFailure) in
            let x = a.inputs[0]
            let axis = try a.axis(0, of: x)
            let length = x.shape[axis]
            func bound(_ index: Int) throws(CallFailure) -> Int {
                let value = try a.integer(index, "a bound")
                return min(max(value < 0 ? value + length : value, 0), length)
            }
            let start = try bound(1)
            return x.slice(axis: axis, start, max(start, try bound(2)))
        },
        122: Operation(name: "concat", inputs: 1...4096, constants: 1...1) {
            (a) throws(CallFailure) in
            let first = a.inputs[0]
            let axis = try a.axis(0, of: first)
            for other in a.inputs {
                var shape = other.shape
                guard shape.count == first.rank else {
                    throw a.refuse("the parts have different ranks")
                }
                shape[axis] = first.shape[axis]
                guard shape == first.shape else {
                    throw a.refuse("the parts differ beside axis \(axis)")
                }
            }
            if a.inputs.allSatisfy({ $0.dtype == .i32 }) {
                return Tensor.concat(a.inputs, axis: axis)
            }
            return Tensor.concat(a.inputs.indices.map { a.x($0) }, axis: axis)
        },
        123: Operation(name: "index", inputs: 2...2, constants: 0...1) { (a) throws(CallFailure) in
            let x = a.inputs[0]
            let axis = try a.axis(0, of: x, fallback: 0)
            guard a.inputs[1].rank == 1 else { throw a.refuse("the indices must have one axis") }
            try a.checkIndices(a.inputs[1], below: x.shape[axis])
            return x.indexed(a.inputs[1], axis: axis)
        },
        124: Operation(name: "gather", inputs: 2...2, constants: 0...0) { (a) throws(CallFailure) in
            let (x, indices) = (a.inputs[0], a.inputs[1])
            guard x.rank > 0, indices.rank == x.rank, indices.shape.dropLast() == x.shape.dropLast()
            else {
                throw a.refuse("the indices need the leading lengths of the first tensor")
            }
            try a.checkIndices(indices, below: x.columns)
            return x.gather(indices)
        },
        125: Operation(name: "broadcast", inputs: 1...1, constants: 0...8) {
            (a) throws(CallFailure) in
            let x = a.inputs[0]
            var shape = try a.lengths(from: 0)
            for axis in shape.indices where shape[axis] == -1 {
                let own = axis - (shape.count - x.rank)
                guard own >= 0 else { throw a.refuse("there is no length to keep on axis \(axis)") }
                shape[axis] = x.shape[own]
            }
            guard Shape.broadcast(x.shape, shape) == shape else {
                throw a.refuse("does not broadcast to \(shape)")
            }
            return a.x().broadcast(shape)
        },
        126: Operation(name: "transpose", inputs: 1...1, constants: 0...8) {
            (a) throws(CallFailure) in
            let x = a.inputs[0]
            if a.k.isEmpty {
                guard x.rank >= 2 else { throw a.refuse("needs two axes") }
                return a.x().transposed(nil)
            }
            let order = try a.lengths(from: 0)
            guard order.sorted() == Array(0..<x.rank) else {
                throw a.refuse("\(order) is no order of \(x.rank) axes")
            }
            return a.x().transposed(order)
        },
    ]

    private static let control: [Int32: Operation] = [
        140: Operation(name: "detach", inputs: 1...1, constants: 0...0) { (a) throws(CallFailure) in
            a.inputs[0].detach()
        },
        141: Operation(name: "cast", inputs: 1...1, constants: 2...2) { (a) throws(CallFailure) in
            switch (a.k[0], a.k[1]) {
            case (2, 32), (2, 64): return a.x()
            case (0, 32):
                let values =
                    a.inputs[0].dtype == .i32
                    ? a.inputs[0].ints().map(Double.init) : a.inputs[0].doubles()
                var ids: [Int32] = []
                for value in values {
                    guard let whole = Int32(exactly: value.rounded(.towardZero)) else {
                        throw a.refuse("\(value) is no 32-bit integer")
                    }
                    ids.append(whole)
                }
                return Tensor(ids, shape: a.inputs[0].shape, device: a.device)
            default: throw a.refuse("no type has code \(a.k[0]) and \(a.k[1]) bits")
            }
        },
        142: Operation(name: "whiten", inputs: 1...2, constants: 0...3) { (a) throws(CallFailure) in
            let x = a.x()
            var mask: Tensor?
            if a.inputs.count == 2 {
                guard Shape.broadcast(a.inputs[1].shape, x.shape) == x.shape else {
                    throw a.refuse("the mask \(a.inputs[1].shape) does not broadcast to \(x.shape)")
                }
                mask = a.x(1).detach()
            }
            return x.whitened(
                epsilon: a.k.first ?? 1e-8, keepMean: a.k.count > 1 && a.k[1] != 0,
                unbiased: a.k.count > 2 && a.k[2] != 0, mask: mask)
        },
        143: Operation(name: "full", inputs: 0...0, constants: 1...9) { (a) throws(CallFailure) in
            let shape = try a.lengths(from: 1)
            guard !shape.contains(-1) else { throw a.refuse("the shape \(shape) cannot be made") }
            return Tensor(filled: a.k[0], shape: shape, dtype: a.dtype, device: a.device)
        },
    ]
}
