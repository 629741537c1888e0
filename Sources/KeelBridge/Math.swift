import KeelCore
import KeelTensor

/// The numeric functions of host and SDK by name, as `keel math` answers them.
package enum Math {
    /// One question: named arrays and parameters.
    package struct Request {
        let object: JSONObject
        /// f32 rounds inputs and answers; tensors compute in it.
        package let dtype: DType
        package let device: Device

        package func fail(_ what: String) -> KeelError { KeelError("math", what, code: .badData) }

        package func has(_ name: String) -> Bool { object[name].map { !$0.isNull } ?? false }

        package func array(_ name: String, rank: Int? = nil) throws -> Column {
            guard let json = object[name], !json.isNull else {
                throw fail("\"\(name)\" is missing")
            }
            let (shape, values) = try Arrays.cells(json, name: name)
            if let rank, shape.count != rank {
                // Nested lists cannot show the lengths behind an empty axis.
                guard values.isEmpty else {
                    throw fail("\"\(name)\" has shape \(shape), needs \(rank) axes")
                }
                return Column(
                    shape: shape + [Int](repeating: 0, count: max(0, rank - shape.count)), values)
            }
            return Column(shape: shape, dtype == .f32 ? values.map { Double(Float($0)) } : values)
        }

        package func array(_ name: String, like shape: [Int]) throws -> [Double] {
            let column = try array(name)
            guard column.shape == shape || column.count == 0 && shape.contains(0) else {
                throw fail("\"\(name)\" has shape \(column.shape), needs \(shape)")
            }
            return column.values
        }

        package func ids(_ name: String, count: Int? = nil) throws -> [Int32] {
            let column = try array(name)
            guard count == nil || column.count == count else {
                throw fail("\"\(name)\" has \(column.count) cells, needs \(count ?? 0)")
            }
            return try column.values.map {
                guard let whole = Int32(exactly: $0) else {
                    throw fail("\"\(name)\" holds \($0), not an integer")
                }
                return whole
            }
        }

        package func number(_ name: String, _ fallback: Double? = nil) throws -> Double {
            guard let json = object[name], !json.isNull else {
                guard let fallback else { throw fail("\"\(name)\" is missing") }
                return fallback
            }
            if let flag = json.bool { return flag ? 1 : 0 }
            guard let value = json.number else {
                throw fail("\"\(name)\" must be a number, not \(json.kind)")
            }
            return value
        }

        package func flag(_ name: String, _ fallback: Bool) throws -> Bool {
            try number(name, fallback ? 1 : 0) != 0
        }

        package func choice<T>(
            _ name: String, _ known: KeyValuePairs<String, T>, default fallback: String? = nil
        ) throws -> T {
            guard let text = object[name]?.string ?? fallback else {
                throw fail("\"\(name)\" is missing")
            }
            guard let found = known.first(where: { $0.key == text }) else {
                throw fail(
                    "\"\(name)\" is \"\(text)\"; known: \(known.map(\.key).joined(separator: ", "))"
                )
            }
            return found.value
        }

        /// An array of the answer.
        package func answer(_ shape: [Int], _ values: [Double]) -> JSON {
            Arrays.json(shape: shape, dtype == .f32 ? values.map { Double(Float($0)) } : values)
        }

        package func answer(_ values: [Double]) -> JSON { answer([values.count], values) }
    }

    package typealias Function = @Sendable (Request) throws -> JSONObject

    /// Every function of this module by its name.
    private static let own: [String: Function] = logprobFunctions.merging(advantageFunctions) {
        first, _ in first
    }
    .merging(samplerFunctions) { first, _ in first }
    .merging(rewardFunctions) { first, _ in first }
    .merging(rolloutFunctions) { first, _ in first }

    /// Answers one question.
    ///
    /// - Parameter more: functions beyond those of this module.
    /// - Throws: `KeelError` (usage) for an unknown name, (badData) for arrays that do not fit.
    package static func answer(
        _ name: String, _ request: JSON, more: [String: Function] = [:],
        precision: ObjectiveInstance.Precision, device: Device
    ) throws -> JSON {
        let function = try function(name, more: more)
        guard let object = request.object else {
            throw KeelError("math", "a question is an object, not \(request.kind)", code: .badData)
        }
        return .object(
            try function(
                Request(object: object, dtype: precision == .f32 ? .f32 : .f64, device: device)))
    }

    /// The names, sorted.
    package static func names(more: [String: Function]) -> [String] {
        (Array(own.keys) + Array(more.keys)).sorted()
    }

    /// - Throws: `KeelError` (usage) with the nearest name.
    package static func function(_ name: String, more: [String: Function]) throws -> Function {
        guard let function = own[name] ?? more[name] else {
            let names = names(more: more)
            let near = nearest(name, among: names).map { "did you mean \"\($0)\"? " } ?? ""
            throw KeelError(
                "usage", "unknown function \"\(name)\"", at: "keel math",
                fix: near + "known: \(names.joined(separator: ", "))", code: .usage)
        }
        return function
    }
}
