import KeelCore

/// Arrays in the JSON of `plugin eval` and `math`: `{"shape", "data"}` or nested lists, both ways.
package enum Arrays {
    /// Columns that hold ids or counts.
    private static let integers: Set<String> = ["tokens", "group", "length", "rank"]

    /// A named array as a column.
    ///
    /// - Throws: `KeelError` (badData) when lists are ragged or a cell is no number.
    package static func column(_ json: JSON, name: String) throws -> Column {
        let (shape, values) = try cells(json, name: name)
        if integers.contains(ColumnNames.split(name).base) {
            let ids = values.compactMap { Int32(exactly: $0) }
            if ids.count == values.count { return Column(shape: shape, ints: ids) }
        }
        return Column(shape: shape, values)
    }

    /// Shape and cells, row-major.
    package static func cells(_ json: JSON, name: String) throws -> (shape: [Int], values: [Double])
    {
        func refuse(_ what: String) -> KeelError {
            KeelError(
                "data", "\"\(name)\" \(what)",
                fix: "write {\"shape\": [...], \"data\": [...]} or nested lists", code: .badData)
        }
        if case .object(let object) = json {
            guard let shape = object["shape"]?.array?.compactMap(\.int),
                let data = object["data"]?.array,
                shape.count == object["shape"]?.array?.count, shape.allSatisfy({ $0 >= 0 })
            else { throw refuse("has no shape and data") }
            var count = 1
            for length in shape {
                let (product, overflow) = count.multipliedReportingOverflow(by: length)
                guard !overflow else { throw refuse("has the impossible shape \(shape)") }
                count = product
            }
            guard count == data.count else {
                throw refuse("has \(data.count) cells for the shape \(shape)")
            }
            return (shape, try data.map { try cell($0, refuse) })
        }
        var shape: [Int] = []
        var probe: JSON? = json
        while case .array(let list)? = probe {
            shape.append(list.count)
            probe = list.first
        }
        var values: [Double] = []
        func walk(_ json: JSON, _ depth: Int) throws {
            if depth == shape.count {
                values.append(try cell(json, refuse))
                return
            }
            guard case .array(let list) = json, list.count == shape[depth] else {
                throw refuse("is ragged")
            }
            for item in list { try walk(item, depth + 1) }
        }
        try walk(json, 0)
        return (shape, values)
    }

    private static func cell(_ json: JSON, _ refuse: (String) -> KeelError) throws -> Double {
        if let number = json.number { return number }
        if let flag = json.bool { return flag ? 1 : 0 }
        if json.string == "nan" { return .nan }
        throw refuse("holds \(json.kind) where a number is needed")
    }

    package static func json(_ column: Column) -> JSON {
        let data: [JSON]
        switch column.storage {
        case .doubles(let values): data = values.map(JSON.double)
        case .ints(let values): data = values.map { JSON.int(Int64($0)) }
        }
        return .object(["shape": .array(column.shape.map { JSON($0) }), "data": .array(data)])
    }

    package static func json(shape: [Int], _ values: [Double]) -> JSON {
        json(Column(shape: shape, values))
    }
}
